"""What the names in a PyTorch checkpoint's pickle stand for: tensors are described, nothing is run.

Nothing of PyTorch is used, and no part of numpy that a file could steer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import ml_dtypes
import numpy as np

T = TypeVar("T")


class Refused(Exception):
    """The pickle asks for something other than tensors and plain values; the message names it."""


class Damaged(Exception):
    """The pickle is not one that `torch.save` writes; the message says why."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers in a checkpoint file.

    Attributes:
      key: its name in the file.
      dtype: dtype of its numbers; None where they are quantised.
      width: bytes of one number.
      start, size: which part of the numbers under `key` it is.
    """

    key: str
    dtype: np.dtype | None
    width: int
    size: int
    start: int = 0


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count numbers of `dtype`."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Other:
    """Something that is not read, such as a NumPy scalar or a sparse tensor.

    Attributes:
      kind: what it is.
      tensor: whether it is a tensor, though not a plain one.
    """

    kind: str
    tensor: bool = False


@dataclass(frozen=True, eq=False)
class Named:
    """A function or class that the pickle names."""

    name: str


@dataclass(frozen=True, eq=False)
class Bytes:
    """Bytes that nobody needs; only their number is kept."""

    size: int


@dataclass(frozen=True, eq=False)
class _NumpyType:
    size: int


class _Array(Other):
    """A NumPy array, whose state comes later in the pickle."""


_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# By PyTorch's names of dtypes and of storages.
_DTYPES = {
    "torch.bfloat16": _BFLOAT16,
    **{f"torch.{kind}{bits}": np.dtype(f"{kind}{bits}") for kind, bits in (
        *(("float", bits) for bits in (16, 32, 64)),
        *(("int", bits) for bits in (8, 16, 32, 64)),
        *(("uint", bits) for bits in (8, 16, 32, 64)),
        *(("complex", bits) for bits in (64, 128)),
    )},
    "torch.bool": np.dtype(bool),
}  # fmt: skip
_STORAGES = {
    # Bytes; their tensors name the dtype.
    "Untyped": np.dtype(np.uint8),
    "Float": np.dtype(np.float32),
    "Double": np.dtype(np.float64),
    "Half": np.dtype(np.float16),
    "BFloat16": _BFLOAT16,
    "Byte": np.dtype(np.uint8),
    "Char": np.dtype(np.int8),
    "Short": np.dtype(np.int16),
    "Int": np.dtype(np.int32),
    "Long": np.dtype(np.int64),
    "Bool": np.dtype(bool),
    "ComplexFloat": np.dtype(np.complex64),
    "ComplexDouble": np.dtype(np.complex128),
}
# Bytes of one number, or of a few packed numbers.
_QUANTIZED = {"QUInt8": 1, "QInt8": 1, "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1}
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_PARAMETER = "torch.nn.parameter.Parameter"
_STORAGE = re.compile(r"torch\.(?:cuda\.|storage\.)?(\w+)Storage")
# Types of numbers alone: no objects, no records, no strings.
_NUMPY_TYPE = re.compile(
    r"[<>=|]?(?:[bi?]1|[iu][1248]|f(?:2|4|8|16)|c(?:8|16|32)|[?bBhHiIlLqQefdgFDG])"
)
# Names that may be mentioned, but are not called.
_MENTIONED = re.compile(
    r"torch\.(?:(?:q?u?int|bits|b?float|complex)\d\w*|bool|per_(?:tensor|channel)_\w+"
    r"|(?:cuda\.|sparse\.)*\w*Tensor)|numpy\.ndarray|collections\.OrderedDict|"
    + re.escape(_FROM_TYPE)
)
# NumPy's modules before NumPy 2, and Python 2's name for its own.
_RENAMED = {
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "__builtin__": "builtins",
}


def named(module: str, attribute: str) -> Named:
    """A name in a pickle.

    Raises:
      Refused: it belongs neither to tensors nor to plain values.
    """
    name = f"{_RENAMED.get(module, module)}.{attribute}"
    if name in _CALLS or _MENTIONED.fullmatch(name) or _STORAGE.fullmatch(name):
        return Named(name)
    raise Refused(name)


def call(function: object, arguments: tuple[Any, ...]) -> object:
    """What a function that a pickle names would return for `arguments`.

    Raises:
      Refused: the function does not rebuild tensors or plain values.
      Damaged: the function does not take such arguments; TypeError and ValueError mean the same.
    """
    name = of_type(Named, function).name
    if name == _FROM_TYPE:
        # A tensor with attributes, or of a subclass.
        rebuild, kind, inner, _ = arguments
        if of_type(Named, kind).name not in ("torch.Tensor", _PARAMETER):
            raise Refused(kind.name)
        name, arguments = of_type(Named, rebuild).name, of_type(tuple, inner)
    if name not in _CALLS:
        raise Refused(name)
    return _CALLS[name](*arguments)


def new(kind: object, arguments: tuple[object, ...]) -> Tensor | Other:
    """A new object of a class that a pickle names, which must be `Parameter`; raises as `call`."""
    name = of_type(Named, kind).name
    if name != _PARAMETER:
        raise Refused(name)
    return _parameter(*arguments)


def check_state(target: object, state: object) -> None:
    """Checks a state that the pickle gives to an object; only NumPy arrays need one."""
    if isinstance(target, _NumpyType):
        _check_type_state(of_type(tuple, state))
    elif isinstance(target, _Array):
        _check_array_state(of_type(tuple, state))
    elif not isinstance(target, dict | Tensor | Other):
        raise Damaged(f"its pickle gives a state to {type(target).__name__}")


def storage(
    what: object, kind: object, key: object, device: object, size: object, view: object = None
) -> Storage:
    """A storage, from the arguments in a pickle; `view` holds its name, start and size."""
    if what != "storage" or not isinstance(key, str | int):
        raise Damaged("its pickle names something outside it that is no storage")
    found = _STORAGE.fullmatch(of_type(Named, kind).name)
    if found is None:
        raise Damaged("its pickle names a storage of no type")
    count, start = _count(size), 0
    if view is not None:
        _, first, part = cast(Iterable[object], view)
        start = _count(first)
        if start + _count(part) > count:
            raise Damaged("a view ends behind its storage")
        count = _count(part)
    dtype = _STORAGES.get(found[1])
    if dtype is None and found[1] not in _QUANTIZED:
        raise Damaged(f"its pickle names a storage of another type, {found[1]}")
    width = _QUANTIZED[found[1]] if dtype is None else dtype.itemsize
    return Storage(str(key), dtype, width, count, start)


def of_type(kind: type[T], value: object) -> T:
    """Returns `value`, or raises `Damaged` where it is not of the type."""
    if not isinstance(value, kind):
        raise Damaged(f"its pickle holds {type(value).__name__} where {kind.__name__} belongs")
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise Damaged("its pickle holds a size that no file has")
    return value


def _counts(values: object) -> tuple[int, ...]:
    counts = of_type(tuple, values)
    if len(counts) > 32:
        raise Damaged("a tensor has more than 32 axes")
    return tuple(map(_count, counts))


def _tensor(
    storage: object, offset: object, shape: object, strides: object, *rest: object
) -> Tensor | Other:
    """`_rebuild_tensor`, or `_rebuild_tensor_v2`, whose `rest` is gradient, hooks and metadata."""
    own = of_type(Storage, storage)
    return _view(own, own.dtype, offset, shape, strides, rest[2:])


def _typed_tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    gradient: object,
    hooks: object,
    *rest: object,
) -> Tensor | Other:
    """`_rebuild_tensor_v3`: `rest` is the dtype and metadata."""
    dtype = _DTYPES.get(of_type(Named, rest[0]).name)
    return _view(of_type(Storage, storage), dtype, offset, shape, strides, rest[1:])


def _view(
    storage: Storage,
    dtype: np.dtype | None,
    offset: object,
    shape: object,
    strides: object,
    metadata: Iterable[object],
) -> Tensor | Other:
    start, sizes, steps = _count(offset), _counts(shape), _counts(strides)
    if len(sizes) != len(steps):
        raise Damaged("a tensor has more strides than axes")
    if storage.dtype is None or dtype is None or any(metadata):
        # It is quantised, has 8-bit floats, or its numbers must be conjugated or negated.
        return Other("a tensor of another kind", tensor=True)
    if storage.size and 0 not in sizes:
        last = start + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
        if (last + 1) * dtype.itemsize > storage.size * storage.width:
            raise Damaged("a tensor ends behind its storage")
    elif 0 not in sizes:
        raise Damaged("a tensor of an empty storage has values")
    return Tensor(storage, dtype, start, sizes, steps)


def _parameter(data: object = None, *_: object) -> Tensor | Other:
    """A parameter is its tensor; gradients, hooks and attributes are left out."""
    if isinstance(data, Tensor) or (isinstance(data, Other) and data.tensor):
        return data
    raise Damaged("its pickle holds a parameter without a tensor")


def _other(kind: str, *, tensor: bool = False) -> Callable[..., Other]:
    return lambda *_: Other(kind, tensor)


def _size(values: object = ()) -> tuple[Any, ...]:
    return of_type(tuple, values)


def _encoded(text: object, *_: object) -> Bytes:
    """Bytes as protocol 2 writes them: text with as many characters."""
    return Bytes(len(of_type(str, text)))


def _numpy_type(code: object, *_: object) -> _NumpyType:
    if not isinstance(code, str) or not _NUMPY_TYPE.fullmatch(code):
        raise Refused("a numpy.dtype that is no number's")
    return _NumpyType(np.dtype(code).itemsize)


def _check_type_state(state: tuple[Any, ...]) -> None:
    """Checks the state of a dtype, which may have no fields, names or parts."""
    if len(state) not in (8, 9) or any(part is not None for part in state[2:5]):
        raise Refused("a numpy.dtype of several parts")


def _numpy_array(kind: object, shape: object, code: object) -> _Array:
    """`_reconstruct`: an empty array, whose state follows."""
    name = of_type(Named, kind).name
    if name != "numpy.ndarray":
        raise Refused(f"numpy._core.multiarray._reconstruct({name})")
    if any(_counts(shape)) or (isinstance(code, str | Bytes) and _length(code) != 1):
        raise Damaged("an array of numpy does not start empty")
    return _Array("an array of numpy")


def _check_array_state(state: tuple[Any, ...]) -> None:
    _, shape, kind, _, content = state
    if _length(content) != math.prod(_counts(shape)) * of_type(_NumpyType, kind).size:
        raise Damaged("an array of numpy has another length than its shape")


def _numpy_buffer(content: object, kind: object, shape: object, *_: object) -> Other:
    """An array as protocol 5 writes it."""
    _check_array_state((1, shape, kind, False, content))
    return Other("an array of numpy")


def _numpy_number(kind: object, content: object) -> Other:
    if of_type(_NumpyType, kind).size != _length(content):
        raise Damaged("a number of numpy has another length than its type")
    return Other("a number of numpy")


def _length(content: object) -> int:
    return content.size if isinstance(content, Bytes) else len(of_type(str, content))


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.Counter": _other("a counter"),
    "builtins.set": _other("a set"),
    "builtins.bytearray": _other("bytes"),
    "builtins.complex": _other("a complex number"),
    "_codecs.encode": _encoded,
    "torch.Size": _size,
    "torch.device": _other("a device"),
    "torch.serialization._get_layout": _other("a layout"),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    _PARAMETER: _parameter,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _parameter,
    **{
        f"torch._utils.{name}": _other("a tensor of another kind", tensor=True)
        for name in (
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_nested_tensor",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_wrapper_subclass",
            "_rebuild_device_tensor_from_numpy",
        )
    },
    "numpy.dtype": _numpy_type,
    "numpy._core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray.scalar": _numpy_number,
    "numpy._core.numeric._frombuffer": _numpy_buffer,
}

"""The pickle in a PyTorch checkpoint, read without running anything that it names.

The standard library's `pickletools` takes it apart. What it asks for is described, never made.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textsr_jax.convert import rebuilding
from textsr_jax.convert.rebuilding import Bytes, Damaged, Named, Other, Storage, of_type

# A checkpoint of 10,000 tensors with their optimiser takes half of this.
MAX_BYTES = 1 << 25
_MAX_OPERATIONS = 500_000
_MARK = object()


@dataclass(frozen=True, eq=False)
class Key:
    """A key of a dict that is not a string. Each equals itself alone; no value is hashed."""

    text: str


def load(stream: io.BytesIO, operations: int = _MAX_OPERATIONS) -> tuple[Any, list[Storage]]:
    """Reads one pickle, up to its end.

    Its length bounds work and memory: an object that occurs several times is made once, and nothing
    is copied, hashed or computed.

    Args:
      stream: at the pickle's start. It is left at the pickle's end.
      operations: how many operations the pickle may take.

    Returns:
      What it holds, and every storage that it names. It may hold None, bools, ints, floats and
      strings; tuples, lists, and dicts with strings and `Key` as keys; `Tensor`, `Storage` and
      `Other`.

    Raises:
      Refused: it asks for something else.
      Damaged: it is not a pickle, is cut short, or is longer than any checkpoint's.
    """
    machine = _Machine(operations)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Damaged(f"its pickle cannot be read: {error}") from error
    return machine.result, machine.storages


class _Machine:
    """A pickle's stack and memo."""

    def __init__(self, operations: int):
        self.result: object = None
        self.storages: list[Storage] = []
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._left = self._most = operations

    def step(self, operation: str, argument: object) -> None:
        self._spend(1)
        if operation in _VALUES:
            self._stack.append(_VALUES[operation](argument))
            return
        method = _METHODS.get(operation)
        if method is None:
            raise Damaged(f"its pickle holds {operation}, which torch.save does not write")
        method(self, argument)

    def _spend(self, operations: int) -> None:
        self._left -= operations
        if self._left < 0:
            raise Damaged(
                f"its pickle takes more than {self._most:,} operations: save the state dict alone"
            )

    def _items(self) -> list[Any]:
        """Takes what is above the last mark off the stack, and returns it."""
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def nothing(self, _: object) -> None:
        pass

    def stop(self, _: object) -> None:
        self.result = self._stack.pop()

    def mark(self, _: object) -> None:
        self._stack.append(_MARK)

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def tuple(self, _: object) -> None:
        self._stack.append(tuple(self._items()))

    def tuple_of(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def append(self, _: object) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _: object) -> None:
        self._extend(self._items())

    def _extend(self, items: list[Any]) -> None:
        of_type(list, self._stack[-1]).extend(items)

    def set_item(self, _: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def set_items(self, _: object) -> None:
        self._update(self._items())

    def _update(self, items: list[Any]) -> None:
        target = of_type(dict, self._stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def add_items(self, _: object) -> None:
        self._items()
        of_type(Other, self._stack[-1])

    def global_(self, name: str) -> None:
        module, _, attribute = name.partition(" ")
        self._stack.append(rebuilding.named(module, attribute))

    def stack_global(self, _: object) -> None:
        attribute, module = self._stack.pop(), self._stack.pop()
        self._stack.append(rebuilding.named(of_type(str, module), of_type(str, attribute)))

    def reduce(self, _: object) -> None:
        arguments, function = of_type(tuple, self._stack.pop()), self._stack.pop()
        if isinstance(function, Named) and function.name == "collections.OrderedDict":
            # Python 2 writes the items as a list here; later versions set them afterwards.
            (items,) = arguments or ([],)
            self._spend(len(of_type(list, items)))
            self._stack.append({_key(key): value for key, value in items})
        else:
            self._stack.append(rebuilding.call(function, arguments))

    def new(self, _: object) -> None:
        arguments, kind = of_type(tuple, self._stack.pop()), self._stack.pop()
        self._stack.append(rebuilding.new(kind, arguments))

    def build(self, _: object) -> None:
        state = self._stack.pop()
        rebuilding.check_state(self._stack[-1], state)

    def persistent(self, _: object) -> None:
        self.storages.append(rebuilding.storage(*of_type(tuple, self._stack.pop())))
        self._stack.append(self.storages[-1])


_VALUES: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), lambda value: value),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), lambda value: value),
    # Python 2's strings; names are written so.
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), lambda value: value),
    **dict.fromkeys(
        ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), lambda value: Bytes(len(value))
    ),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_SET": lambda _: Other("a set"),
}
_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.nothing,
    "FRAME": _Machine.nothing,
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "TUPLE": _Machine.tuple,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}


def _key(key: object) -> str | Key:
    if isinstance(key, str):
        return key
    return Key(str(key) if isinstance(key, int | float) else f"({type(key).__name__})")

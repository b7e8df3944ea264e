"""Packed trees as GGUF files, and back: `quantize_gguf`, `to_gguf`, `from_gguf`.

GGUF's Q4_0 and Q8_0 are blocks of 32 values d x q: d is float16, q is -8 to 7 or -128 to 127.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError, escaped, needs
from textsr_jax.quantization import packing
from textsr_jax.quantization.rules import Rule, first_match
from textsr_jax.quantization.tree import (
    DTYPES,
    QuantizedArray,
    Tree,
    dequantize,
    is_quantized,
    leaf_path,
    unpacked_codes,
)
from textsr_jax.runtime import atomic

BLOCK = 32
# The bits of a code by the format's name.
FORMATS = {"Q4_0": 4, "Q8_0": 8}
# What the specification of GGUF allows a tensor.
_LONGEST_NAME, _MOST_AXES = 64, 4
_PLAIN = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "bfloat16")


def quantize_gguf(tree: Tree, formats: Mapping[str, str | None]) -> Tree:
    """Quantises leaves by GGUF's own formulas, so that `to_gguf` can write them exactly.

    Each block of 32 rows of an output channel gets a range symmetric about 0: Q4_0 takes the value
    of largest magnitude as -8 steps, Q8_0 as 127. Leaves that are packed already are expanded and
    quantised again, which loses more: take the float tree where there is one.

    Args:
      tree: leaves are arrays, outputs last, or `QuantizedArray`s.
      formats: "Q4_0", "Q8_0", or None to leave a leaf, by a regular expression that must match the
        whole path, as in `Rule`. The first match decides; other leaves stay the same.

    Returns:
      The tree with `QuantizedArray`s of 4 or 8 bits and groups of 32. Their values are those of
        the `gguf` package, number for number.

    Raises:
      UserError: the package is not installed, a format is another one, no leaf matches, or a leaf
        that matches is no float array of finite values whose axis before the last is a multiple of
        32. The message names the leaf.
    """
    with needs("gguf"):
        import gguf
    for name in formats.values():
        if name is not None and name not in FORMATS:
            raise UserError(f"format {name!r}: take one of {', '.join(FORMATS)}")
    rules = [
        Rule(pattern, None if name is None else FORMATS[name]) for pattern, name in formats.items()
    ]
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_quantized)
    made, found = [], False
    for keys, leaf in leaves:
        path = leaf_path(keys)
        rule = first_match(rules, path)
        if rule is None or rule.bits is None:
            made.append(leaf)
            continue
        found, bits = True, int(rule.bits)
        if getattr(leaf, "dtype", None) not in DTYPES:
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise UserError(f"{path}: {kind} has no blocks; make it an array of float32")
        _check_shape(leaf.shape, path)
        values = np.moveaxis(np.asarray(dequantize(leaf), np.float32), -1, 0)
        kind = gguf.GGMLQuantizationType[_format(bits)]
        with np.errstate(over="ignore", invalid="ignore"):
            blocks = gguf.quants.quantize(np.ascontiguousarray(values), kind)
        # Values that are not finite, or too large for float16, give such a d.
        made.append(_from_blocks(blocks, leaf.shape, bits, np.dtype(leaf.dtype), path))
    if not found:
        raise UserError(f"formats match none of the {len(leaves)} leaves; correct their patterns")
    return jax.tree.unflatten(structure, made)


def to_gguf(path: str | os.PathLike[str], tree: Tree) -> None:
    """Writes a tree to a GGUF file: packed leaves exactly as Q4_0 or Q8_0, others as they are.

    Arrays of several axes are written with the last one, the outputs, first, which is the order of
    GGUF's own files. A tensor's name is its keys joined by "/". Nothing is requantised: leaves with
    other ranges, such as ACIQ's, are refused; `quantize_gguf` makes leaves that fit.

    Args:
      path: the file; one that is there is replaced once the new one is complete.
      tree: `QuantizedArray`s of `quantize_gguf` or `from_gguf`, and arrays of floats, bfloat16 or
        signed integers.

    Raises:
      UserError: the package is not installed, the file cannot be written, or GGUF cannot hold a
        leaf, which the message names.
    """
    with needs("gguf"):
        import gguf
    writer = gguf.GGUFWriter(None, "textsr_jax")
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized):
        names = [jax.tree_util.keystr((key,), simple=True) for key in keys]
        name = "/".join(names)
        if any("/" in each for each in names) or not name:
            raise UserError(
                f"{name or 'a leaf alone'}: GGUF has names of keys without /; rename it"
            )
        if len(name.encode()) > _LONGEST_NAME or len(getattr(leaf, "shape", ())) > _MOST_AXES:
            raise UserError(
                f"{name}: GGUF takes {_LONGEST_NAME} bytes of a name and {_MOST_AXES} axes; "
                "shorten its keys or reshape it"
            )
        if is_quantized(leaf):
            kind = gguf.GGMLQuantizationType[_format(leaf.bits, name)]
            writer.add_tensor(name, _to_blocks(leaf, name), raw_dtype=kind)
            continue
        array = np.asarray(leaf)
        bfloat16 = array.dtype.name == "bfloat16"
        if array.dtype.name not in _PLAIN or (bfloat16 and not array.ndim):
            raise UserError(
                f"{name}: GGUF has no {array.dtype.name} of shape {array.shape}; make it float32, "
                "or leave it out"
            )
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0)) if array.ndim else array
        if bfloat16:
            kind = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(name, array.view(np.uint8), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    _write(writer, pathlib.Path(path))


def from_gguf(path: str | os.PathLike[str]) -> Tree:
    """Reads a GGUF file: nested dicts of `QuantizedArray`s and arrays, by names split at "/".

    Q4_0 and Q8_0 become 4 and 8 bits with groups of 32 rows, whose values are number for number
    those of the `gguf` package. The first axis of the file becomes the last one. Q4_0 tensors of
    other programs work too; other block formats are refused.

    Args:
      path: the file.

    Returns:
      `QuantizedArray`s of float32, and arrays in the types of the file.

    Raises:
      UserError: the package is not installed, or the file is not there, is damaged, or holds a
        tensor of another format.
    """
    with needs("gguf"):
        import gguf
    path = pathlib.Path(path)
    tree: dict[str, Any] = {}
    for name, kind, data in _tensors(path):
        place = f"{path}: {escaped(name, 80)}"
        if kind in FORMATS:
            bits = FORMATS[kind]
            size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]
            shape = (*data.shape[1:-1], data.shape[-1] // size * BLOCK, data.shape[0])
            if data.ndim < 2:
                raise UserError(f"{place}: a vector in blocks; write it as F32")
            leaf: Any = _from_blocks(data, shape, bits, np.dtype(np.float32), place)
        elif kind in ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "BF16"):
            array = np.array(data.view(jnp.bfloat16) if kind == "BF16" else data)
            leaf = np.moveaxis(array, 0, -1) if array.ndim else array
        else:
            raise UserError(f"{place}: {kind} is not read; convert it to Q4_0, Q8_0 or F32")
        *nodes, last = name.split("/")
        node = tree
        for key in nodes:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise UserError(f"{place}: is below another tensor; rename one of them")
        if last in node:
            raise UserError(f"{place}: is above another tensor; rename one of them")
        node[last] = leaf
    return tree


def _tensors(path: pathlib.Path) -> list[tuple[str, str, np.ndarray]]:
    """The tensors of a file: name, format, and data in the order of the file's axes."""
    with needs("gguf"):
        import gguf
    try:
        return [(one.name, one.tensor_type.name, one.data) for one in gguf.GGUFReader(path).tensors]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a GGUF file") from error
    # Whatever the package raises for bytes that are no such file.
    except Exception as error:
        raise UserError(
            f"{path}: damaged, or no GGUF file ({' '.join(str(error).split())}); write it again"
        ) from error


def _write(writer: Any, path: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The package opens its file itself.
        made = pathlib.Path(folder, "file.gguf")
        writer.write_header_to_file(path=made)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with made.open("rb") as content, atomic.replacing(path) as stream:
            shutil.copyfileobj(content, stream)


def _format(bits: int | tuple[int, ...], place: str = "") -> str:
    for name, each in FORMATS.items():
        if each == bits:
            return name
    raise UserError(
        f"{place}: GGUF has blocks of 4 and of 8 bits, not of {bits}; use quantize_gguf"
    )


def _check_shape(shape: tuple[int, ...], place: str) -> None:
    if len(shape) < 2 or shape[-2] % BLOCK or not shape[-2]:
        raise UserError(
            f"{place}: blocks of {BLOCK} do not divide the axis before the last of shape "
            f"{tuple(shape)}; leave it as it is by the format None"
        )


def _from_blocks(
    blocks: np.ndarray, shape: tuple[int, ...], bits: int, dtype: np.dtype, place: str
) -> QuantizedArray:
    """The leaf of `shape` whose blocks these are: bytes, outputs first, in GGUF's layout."""
    raw = blocks.reshape(-1, 2 + BLOCK * bits // 8)
    steps = np.ascontiguousarray(raw[:, :2]).view(np.float16)[:, 0].astype(np.float32)
    if not np.isfinite(steps).all():
        raise UserError(f"{place}: a block is not finite as float16; rescale or correct the tensor")
    if bits == 4:
        # The low halves of the bytes come first.
        codes = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1)
    else:
        # int8 to 0 .. 255.
        codes = raw[:, 2:] ^ 128
    half, most = 2 ** (bits - 1), 2**bits - 1
    # Steps are not negative here: d x (code - half) is also -d x (half - 1 - (most - code)).
    down = steps < 0
    codes = np.where(down[:, None], most - codes, codes)
    codes = np.where(steps[:, None] == 0, 0, codes)
    steps = np.abs(steps)
    outputs = shape[-1]
    # (outputs, groups) to (groups, outputs), and codes to the order of the tensor.
    scale = steps.reshape(outputs, -1).T
    offset = (np.where(down, 1 - half, -half) * steps).astype(np.float32).reshape(outputs, -1).T
    codes = codes.reshape(outputs, -1).T.astype(np.uint8)
    return QuantizedArray(
        jnp.asarray(packing.pack(codes, bits)),
        jnp.asarray(offset + np.float32(0)),
        jnp.asarray(scale),
        tuple(shape),
        dtype,
        bits,
        "minmax",
        len(shape) - 1,
        BLOCK,
    )


def _to_blocks(leaf: QuantizedArray, place: str) -> np.ndarray:
    """A leaf's blocks, outputs first: uint8 (outputs, ..., bytes of a row)."""
    _check_shape(leaf.shape, place)
    assert isinstance(leaf.bits, int), "_format has refused bits by channel"
    bits, half, most = leaf.bits, 2 ** (leaf.bits - 1), 2**leaf.bits - 1
    fits = leaf.group_size == BLOCK
    offset, scale = (np.asarray(each, np.float32).T.ravel() for each in (leaf.offset, leaf.scale))
    if fits:
        down = offset == (1 - half) * scale
        with np.errstate(over="ignore"):
            steps = np.where(down, -scale, scale).astype(np.float16)
        fits = bool((np.abs(steps.astype(np.float32)) == scale).all())
        fits = fits and bool((down | (offset == -half * scale)).all())
    if not fits:
        raise UserError(
            f"{place}: its ranges are not GGUF's, groups of {BLOCK} symmetric about 0 with float16 "
            "steps; quantise the float tensor with quantize_gguf"
        )
    codes = (
        np.asarray(jax.jit(unpacked_codes)(leaf)).reshape(-1, leaf.shape[-1]).T.reshape(-1, BLOCK)
    )
    codes = np.where((down & (scale > 0))[:, None], most - codes, codes)
    # The value 0 of blocks without steps.
    codes = np.where(scale[:, None] == 0, half, codes).astype(np.uint8)
    if bits == 4:
        codes = codes[:, : BLOCK // 2] | codes[:, BLOCK // 2 :] << 4
    else:
        codes ^= 128
    raw = np.concatenate([steps[:, None].view(np.uint8), codes], axis=1)
    return raw.reshape(leaf.shape[-1], *leaf.shape[:-2], -1)

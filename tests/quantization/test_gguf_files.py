"""GGUF files: written by us and read by the `gguf` package, and the other way round."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qwix

from tests.conftest import same
from textsr_jax.errors import UserError
from textsr_jax.quantization import dequantize, is_quantized, load, save
from textsr_jax.quantization.gguf_files import from_gguf, quantize_gguf, to_gguf
from textsr_jax.quantization.qwix_arrays import to_qwix

gguf = pytest.importorskip("gguf")

FORMATS = {"head/kernel": None, "conv/kernel": "Q4_0", ".*kernel": "Q8_0"}


@pytest.fixture(scope="module")
def tree() -> dict:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(64, 5)).astype(np.float32)
    # A block of zeros, and values whose largest is negative, positive, or not float16's.
    dense[32:, 0], dense[:32, 1], dense[:32, 2] = 0, -np.abs(dense[:32, 1]), 1e-6 * dense[:32, 2]
    return {
        "params": {
            "conv": {"kernel": rng.laplace(size=(2, 3, 32, 4)).astype(np.float32)},
            "head": {"kernel": rng.normal(size=(3, 2)).astype(np.float32)},
            "dense": [{"kernel": dense, "bias": np.float32([1, 2, 3, 4, 5])}],
        },
        "half": jnp.asarray(rng.normal(size=(3, 2)), jnp.bfloat16),
        "step": np.int32(7),
    }


@pytest.fixture(scope="module")
def packed(tree) -> dict:
    return quantize_gguf(tree, FORMATS)


def outputs_first(array) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(np.asarray(array), -1, 0))


def test_values_are_those_of_the_gguf_package(tree, packed):
    for leaf, found, kind in (
        (tree["params"]["conv"]["kernel"], packed["params"]["conv"]["kernel"], "Q4_0"),
        (tree["params"]["dense"][0]["kernel"], packed["params"]["dense"][0]["kernel"], "Q8_0"),
    ):
        kind = gguf.GGMLQuantizationType[kind]
        expected = gguf.dequantize(gguf.quantize(outputs_first(leaf), kind), kind)
        assert found.group_size == 32
        np.testing.assert_array_equal(outputs_first(dequantize(found)), expected)
    assert packed["params"]["conv"]["kernel"].codes.nbytes == 2 * 3 * 32 * 4 // 2
    # A Qwix array holds them too; its zero points say which blocks have a negative step.
    array = to_qwix(packed)["params"]["conv"]["kernel"]
    assert set(np.unique(np.asarray(array.zero_point).astype(int))) == {-1, 0}
    np.testing.assert_array_equal(
        qwix.dequantize(array), dequantize(packed)["params"]["conv"]["kernel"]
    )


def test_the_gguf_package_reads_what_is_written(tree, packed, tmp_path):
    to_gguf(tmp_path / "m.gguf", packed)
    read = {one.name: one for one in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    kinds = {name: one.tensor_type.name for name, one in read.items()}
    assert kinds == {
        "params/conv/kernel": "Q4_0",
        "params/dense/0/kernel": "Q8_0",
        "params/dense/0/bias": "F32",
        "params/head/kernel": "F32",
        "half": "BF16",
        "step": "I32",
    }
    kernel = read["params/conv/kernel"]
    # The package counts axes from the fastest one.
    assert kernel.shape.tolist() == [32, 3, 2, 4]
    np.testing.assert_array_equal(
        gguf.dequantize(kernel.data, kernel.tensor_type),
        outputs_first(dequantize(packed)["params"]["conv"]["kernel"]),
    )
    # Byte for byte what the package makes itself.
    itself = gguf.quantize(outputs_first(tree["params"]["conv"]["kernel"]), kernel.tensor_type)
    np.testing.assert_array_equal(kernel.data, itself)
    back = from_gguf(tmp_path / "m.gguf")
    # Positions in lists come back as keys.
    dense = {"0": packed["params"]["dense"][0]}
    expected = {**packed, "params": {**packed["params"], "dense": dense}}
    assert jax.tree.structure(back) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, back, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]
    # Our own files hold float16 steps too.
    save(tmp_path / "m.safetensors", back["params"])
    assert same(load(tmp_path / "m.safetensors"), back["params"])


def test_a_file_of_the_gguf_package_is_read(tmp_path):
    """Steps of both signs, in both formats, with names as other programs have them."""
    values = np.random.default_rng(1).normal(size=(6, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    made = {}
    for name in ("Q4_0", "Q8_0"):
        kind = gguf.GGMLQuantizationType[name]
        raw = gguf.quantize(values, kind)
        # A negative step is valid, whoever writes it.
        raw[:, 1] ^= 128
        writer.add_tensor(f"blk.0.{name}.weight", raw, raw_dtype=kind)
        made[f"blk.0.{name}.weight"] = gguf.dequantize(raw, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = from_gguf(tmp_path / "m.gguf")
    assert read.keys() == made.keys()
    # Codes of -128 have no negative in int8, but they have in ours.
    for name, leaf in read.items():
        assert is_quantized(leaf) and leaf.shape == (64, 6)
        np.testing.assert_array_equal(np.asarray(dequantize(leaf)).T, made[name])
    to_gguf(tmp_path / "again.gguf", read)
    files = [gguf.GGUFReader(tmp_path / name) for name in ("m.gguf", "again.gguf")]
    for first, second in zip(*(file.tensors for file in files), strict=True):
        np.testing.assert_array_equal(first.data, second.data)


KERNEL = np.random.default_rng(2).normal(size=(64, 3)).astype(np.float32)


def test_what_gguf_cannot_hold_is_refused(packed, tmp_path):
    leaf = packed["params"]["conv"]["kernel"]
    ranges = "k: its ranges are not GGUF's, groups of 32"
    for refused, message in (
        # ACIQ's ranges begin anywhere; steps may have more digits; groups may be longer.
        (dataclasses.replace(leaf, offset=leaf.offset * 0.9), ranges),
        (dataclasses.replace(leaf, offset=leaf.offset / 3, scale=leaf.scale / 3), ranges),
        (dataclasses.replace(leaf, group_size=64), ranges),
        (dataclasses.replace(leaf, bits=5), "k: GGUF has blocks of 4 and of 8 bits, not of 5"),
        (np.zeros((2, 3), bool), "k: GGUF has no bool"),
        (np.tanh, "k: GGUF has no object"),
        (np.zeros((1,) * 5, np.float32), "k: GGUF takes 64 bytes of a name and 4 axes"),
    ):
        with pytest.raises(UserError, match=message):
            to_gguf(tmp_path / "m.gguf", {"k": refused})
    assert not any(tmp_path.iterdir())


def test_what_has_no_blocks_is_refused():
    with pytest.raises(UserError, match=r"k: blocks of 32 do not divide .* \(40, 3\)"):
        quantize_gguf({"k": np.zeros((40, 3), np.float32)}, {"k": "Q4_0"})
    with pytest.raises(UserError, match="k: a block is not finite as float16"):
        quantize_gguf({"k": np.full((32, 1), np.nan, np.float32)}, {"k": "Q8_0"})
    with pytest.raises(UserError, match="k: int32 has no blocks"):
        quantize_gguf({"k": np.zeros((32, 1), np.int32)}, {"k": "Q8_0"})
    with pytest.raises(UserError, match="format 'Q5_0': take one of Q4_0, Q8_0"):
        quantize_gguf({"k": KERNEL}, {"k": "Q5_0"})
    with pytest.raises(UserError, match="formats match none of the 1 leaves"):
        quantize_gguf({"k": KERNEL}, {"K": "Q4_0"})


def test_without_the_package_it_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    for call in (
        lambda: quantize_gguf({"k": KERNEL}, {"k": "Q4_0"}),
        lambda: to_gguf(tmp_path / "m.gguf", {"k": KERNEL}),
        lambda: from_gguf(tmp_path / "m.gguf"),
    ):
        with pytest.raises(UserError, match=r"pip install -e '\.\[gguf\]'"):
            call()


def test_damaged_files_are_refused(packed, tmp_path):
    path = tmp_path / "m.gguf"
    to_gguf(path, packed)
    content = path.read_bytes()
    for damaged in (b"", content[:3], b"no GGUF" + content[7:], content[:200], content[:-100]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"m\.gguf: damaged, or no GGUF file"):
            from_gguf(path)
    writer = gguf.GGUFWriter(path, "llama")
    kind = gguf.GGMLQuantizationType.Q5_0
    writer.add_tensor("k", np.zeros((1, 22), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"m\.gguf: k: Q5_0 is not read"):
        from_gguf(path)
    with pytest.raises(UserError, match=r"none\.gguf: No such file"):
        from_gguf(tmp_path / "none.gguf")

"""Checks saved trees: what comes back, what is refused, and that nothing in a file is run."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tests.conftest import same
from textsr_jax.errors import UserError
from textsr_jax.quantization import (
    Rule,
    dequantize,
    is_quantized,
    load,
    quantize,
    save,
    sealed_files,
    size,
)

MARK = "textsr_jax_tree"


def example_tree():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.laplace(size=shape), jnp.float32)  # noqa: E731
    shared = draw(70, 3)
    return {
        "blocks": [{"kernel": draw(2, 3, 4), "bias": draw(4)}, (shared, None, [])],
        "z/y": {3: shared, 1: {}},
        "half": draw(5, 4).astype(jnp.bfloat16),
        "scanned": draw(2, 8, 4).astype(jnp.float16),
        "steps": np.arange(3),
        "flag": np.array(True),
        "double": np.array([1.0, np.inf, 1e300]),
        "complex": jnp.array([1 + 2j]),
        "none": jnp.zeros((0, 3)),
    }


RULES = [
    Rule("blocks/0/kernel", 3.5, "auto", "channel-bits"),
    Rule("blocks/0/bias", None),
    Rule("blocks/.*", 3, "least_squares", "group"),
    Rule("half", 5, "gaussian", correct=True),
    Rule("scanned", 4, "laplace", "layer-channel"),
]


@pytest.fixture(scope="module")
def packed():
    return quantize(example_tree(), RULES)


@pytest.fixture(scope="module")
def content(packed, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "tree.safetensors"
    assert save(path, packed) == path.stat().st_size
    return path.read_bytes()


def complaint(path, **options):
    with pytest.raises(UserError) as error:
        load(path, **options)
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{path}: ")
    return message


def test_a_tree_comes_back_bit_for_bit(tmp_path, packed, content):
    (tmp_path / "file").write_bytes(content)
    found = load(tmp_path / "file")
    # The containers, and all that is static in quantised leaves.
    assert jax.tree.structure(found) == jax.tree.structure(packed)
    assert list(found) == list(packed)
    for old, new in zip(jax.tree.leaves(packed), jax.tree.leaves(found), strict=True):
        assert (old.dtype, old.shape) == (new.dtype, new.shape)
        assert np.asarray(old).tobytes() == np.asarray(new).tobytes()
    # Shared before, and shared after: written, held and counted once.
    for tree in (packed, found):
        assert tree["blocks"][1][0] is tree["z/y"][3]
        values = dequantize(tree)
        assert values["blocks"][1][0] is values["z/y"][3]
    one = {**packed, "z/y": {}}
    assert size(packed) == size(one)
    assert save(tmp_path / "one", one) < len(content) < save(tmp_path / "one", one) + 100
    assert save(tmp_path / "again", found) == len(content)
    assert (tmp_path / "again").read_bytes() == content


def test_arrays_are_read_by_the_safetensors_library(content):
    arrays = safetensors.numpy.load(content)
    found = sealed_files.read_arrays(content)
    assert arrays.keys() == found.keys()
    for name, array in arrays.items():
        assert array.dtype == found[name].dtype and array.tobytes() == found[name].tobytes()


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    kernel: object
    bias: object


def test_other_nodes_need_a_tree_like_them(tmp_path):
    tree = {"layers": [Layer(jnp.arange(12.0).reshape(4, 3), jnp.ones(3))]}
    packed = quantize(tree, [Rule("layers/0/kernel", 8, "minmax")])
    path = tmp_path / "file"
    save(path, packed)
    assert "holds tests.quantization.test_tree_files.Layer at 'layers/0', a class" in complaint(
        path
    )
    for like in (tree, packed, jax.eval_shape(lambda: tree)):
        found = load(path, like=like)
        assert isinstance(found["layers"][0], Layer)
        assert is_quantized(found["layers"][0].kernel)
        assert same(dequantize(found), dequantize(packed))
    message = complaint(path, like={"layers": [tree["layers"][0].kernel]})
    assert "its leaf 0 is 'layers/0/kernel', and that of `like` 'layers/0'; give a tree" in message
    assert "its leaf 1 is 'layers/0/bias', and that of `like` None" in complaint(
        path, like={"layers": [Layer(tree["layers"][0].kernel, None)]}
    )
    wide = {"layers": [Layer(jnp.ones((4, 5)), jnp.ones(5))]}
    assert "'layers/0/kernel' has shape (4, 3), and that of `like` (4, 5)" in complaint(
        path, like=wide
    )


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ("text", "^a/0: a str cannot be saved, only arrays"),
        (object(), "^a/0: a object cannot be saved"),
        (jax.random.key(0), "^a/0: an array of key<fry> cannot be saved; convert it"),
        (np.array([object()]), "^a/0: an array of object cannot be saved"),
        (np.zeros(2, ml_dtypes.int4), "^a/0: an array of int4 cannot be saved"),
    ],
)
def test_leaves_that_no_file_holds_are_refused_by_name(tmp_path, leaf, message):
    with pytest.raises(UserError, match=message):
        save(tmp_path / "file", {"a": [leaf]})
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_or_read(tmp_path):
    with pytest.raises(UserError, match="cannot write it"):
        save(tmp_path / "none" / "file", {"a": jnp.ones(2)})
    assert "no such file; name one that quantization.save wrote" in complaint(tmp_path / "x")
    assert "is a folder, not a saved tree" in complaint(tmp_path)
    path = tmp_path / "file"
    for foreign in (b"", b"some text that is longer than a header", pickle.dumps([1])):
        path.write_bytes(foreign)
        assert "no saved tree, or a damaged one" in complaint(path)
    safetensors.numpy.save_file({"x": np.ones(3)}, path)
    assert "a safetensors file, but not a saved tree" in complaint(path)


def test_damaged_files_are_refused_with_a_line_each(tmp_path, content):
    rng = np.random.default_rng(1)
    path = tmp_path / "file"
    for _ in range(400):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            damaged[place] ^= int(rng.integers(1, 256))
        cut = rng.random() < 0.2
        path.write_bytes(damaged[: rng.integers(len(content))] if cut else damaged)
        complaint(path)


def record_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"][MARK])


FALSE = {
    "version": (lambda r, a: r.update(version=9), "a saved tree of version 9, and this program"),
    "fields": (lambda r, a: r.update(more=1), "its record has values of a wrong kind"),
    "leaf gone": (lambda r, a: r["leaves"].pop(), "its paths cannot be read"),
    "structure number": (lambda r, a: r.update(structure=99), "its structure cannot be read"),
    "structure true": (lambda r, a: r.update(structure=True), "its structure cannot be read"),
    "class": (lambda r, a: r.update(structure={"os.system": []}), "its structure cannot be read"),
    "key": (lambda r, a: r.update(structure={"dict": [[[], 0]]}), "its structure cannot be read"),
    "twice": (
        lambda r, a: r.update(structure={"dict": [["a", 0], ["a", 1]]}),
        "its structure cannot be read",
    ),
    "deep": (
        lambda r, a: r.update(structure=json.loads('{"list":[' * 300 + "]}" * 300)),
        "its structure cannot be read",
    ),
    "array gone": (lambda r, a: a.pop(min(a)), "has no array"),
    "array more": (lambda r, a: a.update(more=np.ones(2)), "'more' is no leaf"),
    "code gone": (lambda r, a: a.update(codes=a["codes"][1:]), "codes: fewer than its leaves"),
    "code more": (
        lambda r, a: a.update(codes=np.append(a["codes"], np.uint8(0))),
        "codes: 1 more than its leaves have",
    ),
    "offset NaN": (
        lambda r, a: a.update(offsets=a["offsets"] * np.float32(np.nan)),
        "its offsets are not finite",
    ),
}


@pytest.mark.parametrize("case", FALSE)
def test_false_files_with_the_right_digest_are_refused(tmp_path, content, case):
    change, message = FALSE[case]
    record, arrays = record_of(content), dict(sealed_files.read_arrays(content))
    change(record, arrays)
    path = tmp_path / "file"
    path.write_bytes(sealed_files.to_bytes(arrays, json.dumps(record), MARK))
    assert message in complaint(path)

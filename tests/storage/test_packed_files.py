"""Packed files: what is saved comes back bit for bit; damaged and foreign ones are one line."""

import contextlib
import copy
import dataclasses
import hashlib
import json
import pathlib
import pickle
import re
import resource
import sys
import time
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import textsr_jax
from tests.conftest import files_up_to, micro_config, same
from textsr_jax import reading
from textsr_jax.config.checks import checked
from textsr_jax.config.portable import portable
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import build_ocr, build_sr
from textsr_jax.quantization import Rule, dequantize, is_quantized, quantize
from textsr_jax.quantization.packing import pack
from textsr_jax.quantization.rules import rule_set
from textsr_jax.reading.engine import JaxEngine
from textsr_jax.storage import checkpoints, packed_files, parameter_files, workdirs
from textsr_jax.storage.models import Models
from textsr_jax.storage.packed_files import PackedModels
from textsr_jax.storage.parameter_files import ParameterFile
from textsr_jax.text import ALPHANUMERIC, PRINTABLE

RECORD, DIGEST = "textsr_jax_packed", "sha256"


def handmade(rules=(), config=None):
    """Models of a few arrays, quantised by rules; no network has them."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    sr = {
        "params": {"head": {"kernel": draw(3, 3, 2, 5), "bias": draw(5)}, "slope": draw()},
        "stats": {"bn": {"mean": draw(5)}},
    }
    ocr = {"params": {"0": {"kernel": draw(7, 6)}, "empty": draw(0, 3)}, "stats": {}}
    return PackedModels(
        config={"seed": 1} if config is None else config,
        rules={"sr": tuple(rules), "ocr": ()},
        fine_tuned=False,
        provenance={"commit": "abc", "data": "words", "scores": {"psnr": 21.5}},
        sr=quantize(sr, rules),
        ocr=quantize(ocr, rules),
    )


def complaint(path, load=textsr_jax.load):
    """The one line of a file that is refused; how it begins says which file it is."""
    with pytest.raises(UserError) as error:
        load(path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ") or message.startswith(f"{path} ")
    return message


@pytest.fixture(scope="module")
def packed():
    """Quantised small networks, with bits, ranges and priors of several kinds."""
    config = micro_config(pathlib.Path("/data/words"), pathlib.Path("/data/prepared"))
    config.ocr.name = "crnn"
    rng = np.random.default_rng(1)

    def filled(network):
        return jax.tree.map(
            lambda leaf: np.abs(0.2 * rng.standard_normal(leaf.shape)).astype(leaf.dtype),
            network.template,
        )

    rules = {
        "sr": (
            Rule("edsr/(upsample|tail)/kernel", 3.5, granularity="channel-bits"),
            Rule("edsr/.*/bias", 5),
        ),
        "ocr": (Rule("convs/[01]/.*/kernel", 6, "minmax", "channel", True), Rule("output/.*", 7)),
    }
    networks = {"sr": build_sr(config.sr), "ocr": build_ocr(config.ocr)}
    return PackedModels(
        config=portable(checked(config)),
        rules=rules,
        fine_tuned=True,
        provenance={"commit": None},
        **{part: quantize(filled(networks[part]), rules[part]) for part in networks},
    )


@pytest.fixture(scope="module")
def content(packed):
    return packed_files.to_bytes(packed)


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("granularity", ["tensor", "channel", "channel-bits", "group", "layer"])
def test_codes_ranges_and_all_else_come_back_bit_for_bit(tmp_path, granularity, bits):
    correct = bits % 2 == 0 and granularity not in ("group", "layer")
    rules = [
        Rule("head/bias", bits, "minmax"),
        Rule("(head/kernel|empty)", bits, "auto", granularity, correct),
        Rule("0/kernel", min(8, bits + 0.5), "gaussian", "channel-bits"),
    ]
    before = handmade(rules)
    assert packed_files.save(tmp_path / "file", before) == (tmp_path / "file").stat().st_size
    after = packed_files.load(tmp_path / "file")
    for part in packed_files.PARTS:
        leaves = [jax.tree.leaves(getattr(p, part), is_leaf=is_quantized) for p in (before, after)]
        assert sum(map(is_quantized, leaves[0])) == 2
        for old, new in zip(*leaves, strict=True):
            if is_quantized(old):
                # All that is static: shape, dtype, bits, prior, axis.
                assert jax.tree.structure(old) == jax.tree.structure(new)
            for one, other in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
                assert one.shape == other.shape and one.dtype == other.dtype
                assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    for name in ("config", "rules", "fine_tuned", "provenance"):
        assert getattr(before, name) == getattr(after, name)


def test_groups_come_back_and_take_what_the_accounts_say(tmp_path):
    x = np.random.default_rng(3).laplace(size=(70, 3)).astype(np.float32)
    trees = {}
    for granularity in ("tensor", "group"):
        rule = Rule("x", 3, "least_squares", granularity)
        trees[granularity] = quantize({"params": {"x": x}, "stats": {}}, [rule])
    files = {name: PackedModels(**{**vars(handmade()), "sr": t}) for name, t in trees.items()}
    packed_files.save(tmp_path / "file", files["group"])
    leaf = packed_files.load(tmp_path / "file").sr["params"]["x"]
    assert (leaf.group_size, leaf.prior, leaf.offset.shape) == (64, "least_squares", (2, 3))
    assert same(dequantize(leaf), dequantize(trees["group"]["params"]["x"]))
    # The one range of the tensor took 8 bytes, and those of six groups take 6 each.
    arrays = {name: parts(packed_files.to_bytes(file))[0] for name, file in files.items()}
    taken = {name: sum(a.nbytes for a in found.values()) for name, found in arrays.items()}
    assert taken["group"] - taken["tensor"] == 6 * 6 - 8


def test_leaves_in_bfloat16_come_back_as_such(tmp_path):
    before = handmade()
    sr = {"params": {"x": jnp.asarray([[0.5, 1.25], [3, 4]], jnp.bfloat16)}, "stats": {}}
    sr = quantize(sr, [Rule("x", 4)])
    packed_files.save(tmp_path / "file", PackedModels(**{**vars(before), "sr": sr}))
    after = packed_files.load(tmp_path / "file").sr
    assert after["params"]["x"].dtype == jnp.bfloat16
    assert same(dequantize(after), dequantize(sr))


def test_only_float32_is_stored_as_it_is():
    ocr = {"params": {"x": jnp.zeros(3, jnp.bfloat16)}, "stats": {}}
    with pytest.raises(ValueError, match="leaf 'ocr/params/x' is bfloat16; those not quantised"):
        packed_files.to_bytes(PackedModels(**{**vars(handmade()), "ocr": ocr}))


@pytest.mark.parametrize("correct", [False, True])
def test_scales_of_channels_take_two_bytes_where_they_can(tmp_path, correct):
    before = handmade([Rule("(head|0)/kernel", 4, granularity="channel", correct=correct)])
    packed_files.save(tmp_path / "file", before)
    assert packed_files.size(before) == (tmp_path / "file").stat().st_size
    with safetensors.safe_open(tmp_path / "file", framework="np") as file:
        stored = file.get_tensor("channel_scales")
    assert stored.dtype == (np.float32 if correct else np.uint16)
    scales = [
        p.sr["params"]["head"]["kernel"].scale
        for p in (before, packed_files.load(tmp_path / "file"))
    ]
    np.testing.assert_array_equal(*scales)


@pytest.mark.slow
def test_packed_models_are_a_start_for_training(tmp_path, packed, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    config = packed.experiment("memory")
    for part, stage, build in (("sr", "stage1", build_sr), ("ocr", "pretrain_ocr", build_ocr)):
        start = checkpoints.load_start(
            str(path), stage, part, config[part].name, build(config[part]).template
        )
        assert same(start, jax.tree.map(np.asarray, dequantize(getattr(packed, part))))
    with pytest.raises(UserError, match=r"config\.init\.sr=.*: holds 'edsr', but config\.sr"):
        checkpoints.load_start(str(path), "stage1", "sr", "tsrn", {})


@pytest.mark.slow
def test_loaded_models_compute_what_those_in_memory_do(tmp_path, packed, content):
    (tmp_path / "file").write_bytes(content)
    loaded = textsr_jax.load(tmp_path / "file")
    config = packed.experiment("memory")
    sr, ocr = build_sr(config.sr, packed.sr), build_ocr(config.ocr)
    networks = sr.through(dequantize), ocr.through(dequantize)
    search = WordSearch.of(config.decoding)
    memory = reading.Reader(JaxEngine(search, lambda: networks, packed.sr, packed.ocr))
    image = np.random.default_rng(2).integers(0, 256, (20, 70, 3), np.uint8)
    assert np.array_equal(loaded.enhance([image]), memory.enhance([image]))
    assert loaded.read([image]) == memory.read([image])


@pytest.mark.slow
def test_kernels_are_multiplied_in_integers_where_asked(tmp_path, packed, content, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(content)
    config = packed.experiment(path)
    integer = config.replace(quantization={"compute": "integer"})
    x = np.random.default_rng(2).uniform(size=(1, 16, 64, 3)).astype(np.float32)
    plain, found = (
        jax.jit(models.sr.__call__)(models.sr_variables, x)
        for models in (Models.load(path), Models.load(path, integer))
    )
    assert 0 < np.abs(found - plain).max() < 0.02 * np.abs(plain).max()
    # The field is the machine's, so that a file does not hold it.
    assert "compute" not in portable(integer)["quantization"]
    # Functions that a reader kept before are those of floats.
    textsr_jax.load(path).enhance([np.zeros((16, 64, 3), np.uint8)])
    monkeypatch.setitem(sys.modules, "qwix", None)
    with pytest.raises(UserError, match="qwix is not installed"):
        textsr_jax.load(path, config=integer)


def scaled(tree, factor):
    """The tree with weights so many times as large."""

    def change(leaf):
        if is_quantized(leaf):
            return dataclasses.replace(leaf, offset=leaf.offset * factor, scale=leaf.scale * factor)
        return leaf * factor

    return jax.tree.map(change, tree, is_leaf=is_quantized)


def test_finite_weights_that_give_no_finite_output_are_one_line(tmp_path, packed):
    """They are in the file as it says; what they compute is no confidence and no image."""
    image = np.random.default_rng(2).integers(0, 256, (16, 64, 3), np.uint8)
    sr, ocr = tmp_path / "sr", tmp_path / "ocr"
    packed_files.save(sr, dataclasses.replace(packed, sr=scaled(packed.sr, np.float32(1e30))))
    spoiled = jax.tree.map(lambda leaf: leaf, packed.ocr)
    output = spoiled["params"]["rnn"]["1"]["output"]
    # States before it are at most 1.
    output["kernel"] = np.full_like(output["kernel"], 3e38)
    packed_files.save(ocr, dataclasses.replace(packed, ocr=spoiled))
    for path, use in ((sr, "enhance"), (sr, "read"), (ocr, "read")):
        with pytest.raises(UserError, match="its output is not finite") as error:
            getattr(textsr_jax.load(path), use)([image])
        assert str(error.value).startswith(f"{path}: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "guide"), [("tpgsr", "prior"), ("tatt", "prior"), ("lemma", "reader")]
)
def test_networks_with_a_recogniser_inside_enlarge_from_a_packed_file(tmp_path, name, guide):
    config = micro_config(pathlib.Path("/data/words"), pathlib.Path("/data/prepared"))
    config.sr.name, config.sr.apply_stn, config.ocr.name = name, "never", "crnn"
    rules = rule_set("kernels", 6, granularity="channel")
    rng = np.random.default_rng(4)
    scale = lambda shape: (np.prod(shape[:-1])) ** -0.5 if len(shape) > 1 else 0.1  # noqa: E731

    def drawn(path, leaf):
        values = rng.normal(0, scale(leaf.shape), leaf.shape)
        return np.ones_like(values, leaf.dtype) if path[-1].key == "var" else values.astype("f4")

    networks = {"sr": build_sr(checked(config).sr), "ocr": build_ocr(checked(config).ocr)}
    trees = {
        part: quantize(jax.tree_util.tree_map_with_path(drawn, network.template), rules)
        for part, network in networks.items()
    }
    guided = trees["sr"]["params"][guide]
    assert sum(map(is_quantized, jax.tree.leaves(guided, is_leaf=is_quantized))) > 10
    models = PackedModels(
        portable(checked(config)), {"sr": rules, "ocr": rules}, False, {}, **trees
    )
    packed_files.save(tmp_path / "file", models)
    reader = textsr_jax.load(tmp_path / "file")
    images = rng.integers(0, 256, (2, 16, 64, 3), np.uint8)
    sr = jax.jit(networks["sr"])(dequantize(trees["sr"]), to_float(images))
    enhanced = reader.enhance(list(images))
    assert np.abs(enhanced.astype(int) - to_uint8(sr)).max() <= 1 and np.std(enhanced) > 1
    assert [reading.text for reading in reader.read(list(images))] == [
        reading.text for reading in reader.read_enhanced(enhanced)
    ]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_arrays_that_are_not_finite_are_not_written(tmp_path, packed, wrong):
    sr = {"params": {"bias": np.array([1, wrong], np.float32)}, "stats": {}}
    with pytest.raises(UserError, match="sr/params/bias: not all values are finite"):
        packed_files.save(tmp_path / "file", dataclasses.replace(packed, sr=sr))
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_that_stand_for_no_finite_number_are_refused(tmp_path, content, bits, dtype):
    """Offset and step are finite, and the last code may not be; only the codes there are count."""
    most = float(jnp.finfo(dtype).max)
    last = 2**bits - 1

    def leaf(code):
        codes = pack(np.array([0, code], np.uint8), bits)
        step = np.float32(1.5 * most / last)
        about = {"shape": [2], "dtype": dtype, "bits": bits, "prior": "minmax", "axis": None}
        return about, {"codes": codes, "offsets": np.zeros(1, "f4"), "scales": np.full(1, step)}

    path, (_, record) = tmp_path / "file", parts(content)
    for code, sound in ((last // 2, True), (last, False)):
        about, arrays = leaf(code)
        path.write_bytes(sealed(arrays, record | {"leaves": {"sr/params/x": about}}))
        if sound:
            values = dequantize(packed_files.load(path).sr)["params"]["x"]
            assert bool(jnp.isfinite(values).all())
        else:
            assert "sr/params/x: its values are not" in complaint(path, packed_files.load)


def test_packed_models_say_what_is_in_them(packed):
    what = repr(packed)
    assert what.startswith("PackedModels(edsr + crnn, ") and len(what) < 300
    for leaves in (
        "minmax at 6 bits",
        "laplace at 3.5 bits",
    ):
        assert leaves in what


def test_models_of_a_file_are_those_of_its_stages(tmp_path, packed, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    models = Models.load(path)
    assert same(models.fine_tuned, packed.ocr) and models.pretrained is None
    assert models.config == workdirs.load_config(path) == packed.experiment(path)
    packed_files.save(path, PackedModels(**{**vars(packed), "fine_tuned": False}))
    models = Models.load(path)
    assert same(models.pretrained, packed.ocr) and models.fine_tuned is None
    # Decoding may be another, the network not.
    config = packed.experiment(path).replace(decoding={"beam": 7})
    assert Models.load(path, config).config.decoding.beam == 7
    config = config.replace(sr={"edsr": {"channels": 9}})
    with pytest.raises(UserError, match=r"holds another network than config\.sr asks"):
        Models.load(path, config)


def test_the_plain_safetensors_library_opens_it(tmp_path):
    rules = [Rule("head/kernel", 3), Rule("0/kernel", 4, granularity="channel")]
    packed_files.save(tmp_path / "file", handmade(rules))
    with safetensors.safe_open(tmp_path / "file", framework="np") as file:
        assert set(file.keys()) == {
            "sr/params/head/bias",
            "sr/params/slope",
            "sr/stats/bn/mean",
            "codes",
            "offsets",
            "scales",
            "channel_scales",
            "ocr/params/empty",
        }
        # 90 codes of 3 bits and 42 of 4.
        assert file.get_tensor("codes").shape == (34 + 21,)
        assert file.get_tensor("offsets").shape == (7,)
        assert file.get_tensor("scales").shape == (1,)
        assert file.get_tensor("channel_scales").shape == (6,)
        assert file.get_tensor("sr/params/slope").shape == ()
        record = json.loads(file.metadata()[RECORD])
    assert record["rules"]["sr"][0]["pattern"] == "head/kernel"
    assert record["leaves"]["ocr/params/0/kernel"] == {
        "shape": [7, 6],
        "dtype": "float32",
        "bits": 4,
        "prior": "laplace",
        "axis": 1,
    }


def test_the_same_models_always_give_the_same_bytes(tmp_path, content, packed):
    assert all(packed_files.to_bytes(packed) == content for _ in range(5))
    assert content[8:].startswith(b'{"__metadata__":{"textsr_jax_packed":')
    (tmp_path / "file").write_bytes(content)
    assert packed_files.is_packed_file(tmp_path / "file")
    (tmp_path / "other").write_bytes(content[-500:])
    assert not packed_files.is_packed_file(tmp_path / "other")
    assert not packed_files.is_packed_file(tmp_path)


def test_a_file_holds_no_places_of_the_machine_that_made_it(content):
    assert b"/data" not in content
    assert b"words" in content


@contextlib.contextmanager
def memory_up_to(mebibytes):
    """The process may take no more than this on top of what it has; beyond, allocating fails."""
    statistics = pathlib.Path("/proc/self/statm")
    if not statistics.exists():  # only Linux tells
        yield
        return
    pages = int(statistics.read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + mebibytes * 2**20, limits[1])
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def damaged(content, rng):
    """`content` with one of several kinds of damage; never equal to it."""
    size = len(content)
    start, end = np.sort(rng.integers(0, size + 1, 2))
    length = int(rng.integers(1, 200))
    place = int(rng.integers(0, size))
    kind = rng.integers(8)
    if kind == 0:  # a few bits flip, half of the time in the header
        changed = bytearray(content)
        for _ in range(rng.integers(1, 5)):
            changed[rng.integers(0, rng.choice([64, size]))] ^= 1 << rng.integers(8)
        changed = bytes(changed)
    elif kind == 1:
        changed = content[:place] + rng.bytes(length) + content[place + length :]
    elif kind == 2:
        changed = content[:place]
    elif kind == 3:
        changed = content[:place] + rng.bytes(length) + content[place:]
    elif kind == 4:
        changed = content[:end] + content[start:]
    elif kind == 5:
        changed = content[:place] + bytes(length) + content[place + length :]
    elif kind == 6:
        middle = (start + end) // 2
        changed = content[:start] + content[middle:end] + content[start:middle] + content[end:]
    else:  # another length of the header
        changed = int(rng.integers(0, 2**63)).to_bytes(8, "little") + content[8:]
    return changed if changed != content else content + b"\0"


@pytest.mark.slow
def test_10_000_damaged_files_are_refused_with_a_line_each(tmp_path):
    rules = [
        Rule("head/kernel", 3, granularity="channel"),
        Rule("0/kernel", 3.5, granularity="channel-bits"),
        Rule("head/bias", 5),
    ]
    content = packed_files.to_bytes(handmade(rules))
    rng = np.random.default_rng(0)
    path = tmp_path / "file"
    # Written over in place: opening a file anew to empty it takes longer than all the rest.
    with memory_up_to(256), path.open("wb", buffering=0) as file:
        for _ in range(10_000):
            file.seek(0)
            file.write(changed := damaged(content, rng))
            file.truncate()
            assert path.stat().st_size == len(changed)
            start = time.perf_counter()
            message = complaint(path)
            assert time.perf_counter() - start < 5
            assert "damaged" in message or "not a packed" in message


def parts(content):
    """The arrays of a packed file and its record."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return safetensors.numpy.load(content), json.loads(metadata[RECORD])


def sealed(arrays, record):
    """A file of arrays and a record, which may be text, with the digest that it must have."""
    record = record if isinstance(record, str) else json.dumps(record)
    zeros = "0" * 64
    content = safetensors.numpy.save(arrays, {RECORD: record, DIGEST: zeros})
    field = f'"{DIGEST}":"{zeros}"'.encode()
    assert content.count(field) == 1
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(field, f'"{DIGEST}":"{digest}"'.encode())


def test_what_the_tests_seal_is_what_the_package_writes(tmp_path, content):
    (tmp_path / "file").write_bytes(sealed(*parts(content)))
    assert packed_files.to_bytes(packed_files.load(tmp_path / "file")) == content


LEAF = "ocr/params/convs/0/conv/kernel"


def leaf(**changes):
    def change(arrays, record):
        record["leaves"][LEAF].update(changes)

    return change


def field(name, value):
    """Sets a field of the record, such as `config/sr/name`."""

    def change(arrays, record):
        *folders, last = name.split("/")
        for folder in folders:
            record = record[folder]
        record[last] = value

    return change


def array(name, value):
    def change(arrays, record):
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value

    return change


def without(name):
    def change(arrays, record):
        *folders, last = name.split("/")
        for folder in folders:
            record = record[folder]
        del record[last]

    return change


def moved(name, other):
    def change(arrays, record):
        arrays[other] = arrays.pop(name)

    return change


def renamed_leaf(other):
    def change(arrays, record):
        record["leaves"] = {
            other if name == LEAF else name: about for name, about in record["leaves"].items()
        }

    return change


def bomb(depth):
    """Nested lists in lists; as text, since `json.dumps` could not write them."""
    return "[" * depth + "]" * depth


FALSE = {
    # The record.
    "version 2": (field("version", 2), "of version 2, and this program reads version 3"),
    "version text": (field("version", "3"), "of version '3', and this program reads"),
    "alphabet": (field("alphabet", "abc"), "its alphabet is 'abc', and this program reads '"),
    "two alphabets": (field("alphabet", PRINTABLE.characters), "its alphabet is not that of its"),
    "alphabets": (field("alphabet", [ALPHANUMERIC.characters]), r"its alphabet is \['0123"),
    "extra field": (field("code", "import os"), "its record has other fields"),
    "missing field": (without("provenance"), "its record has other fields"),
    "rules of one part": (without("rules/sr"), "values of a wrong kind"),
    "rules no list": (field("rules/sr", {}), "values of a wrong kind"),
    "rule no mapping": (field("rules/sr", [3]), "its rules cannot be read"),
    "rule of 9 bits": (
        field("rules/sr", [{"pattern": "x", "bits": 9}]),
        "its rules cannot be read",
    ),
    "rule of nothing": (field("rules/sr", [{}]), "its rules cannot be read"),
    "rule pattern": (field("rules/sr", [{"pattern": "(", "bits": 4}]), "its rules cannot be read"),
    "rule repeats": (
        field("rules/sr", [{"pattern": "a{99999999999}", "bits": 4}]),
        "its rules cannot be read",
    ),
    "rule parentheses": (
        field("rules/sr", [{"pattern": "(" * 5000 + ")" * 5000, "bits": 4}]),
        "its rules cannot be read",
    ),
    "rule number": (field("rules/sr", [{"pattern": 5, "bits": 4}]), "its rules cannot be read"),
    "fine-tuned": (field("fine_tuned", 1), "values of a wrong kind"),
    "leaves": (field("leaves", []), "values of a wrong kind"),
    "leaf": (field("leaves/x", 4), "values of a wrong kind"),
    # A leaf.
    "shape": (leaf(shape=[3, 3, 2, 4]), "codes: fewer than its leaves have"),
    "same size": (leaf(shape=[3, 3, 4, 1], axis=2), "has params/convs/0/conv/kernel of shape"),
    "flat": (leaf(shape=[36]), "its axis is 3"),
    "huge shape": (leaf(shape=[10**12, 1, 1, 4]), "codes: fewer than its leaves have"),
    "huge shapes": (leaf(shape=[10**12] * 3 + [4]), "codes: fewer than its leaves have"),
    "beyond shapes": (leaf(shape=[10**30, 1, 1, 4]), "its shape is"),
    "negative shape": (leaf(shape=[-3, -3, 1, 4]), "its shape is"),
    "broken shape": (leaf(shape=[3.0, 3, 1, 4]), "its shape is"),
    "true shape": (leaf(shape=[True, 9, 1, 4]), "its shape is"),
    "text as shape": (leaf(shape="3314"), "its shape is"),
    "axes": (leaf(shape=[3, 3, 1, 4] + [1] * 100), "its shape is"),
    "no elements": (leaf(shape=[0, 10**12, 3, 4]), "codes: 27 more than its leaves have"),
    "bits 9": (leaf(bits=9), "its bits are 9"),
    "bits 1": (leaf(bits=1), "its bits are 1"),
    "bits 6.0": (leaf(bits=6.0), "its bits are 6.0"),
    "bits true": (leaf(bits=True), "its bits are True"),
    "other bits": (leaf(bits=5), "codes: 4 more than its leaves have"),
    "bits of channels": (leaf(bits="6662"), "codes: 3 more than its leaves have"),
    "bits of 3 channels": (leaf(bits="666"), "bits and channels differ in number"),
    "bits of many channels": (leaf(bits="8" * 10**6), "bits and channels differ in number"),
    "bits 0 of a channel": (leaf(bits="6660"), "its bits are not all 2 to 8"),
    "bits in other digits": (leaf(bits="٦٦٦٦"), "its bits are not all 2 to 8"),
    "axis 4": (leaf(axis=4), "its axis is 4"),
    "axis -1": (leaf(axis=-1), "its axis is -1"),
    "axis of three": (leaf(axis=0), "offsets: 1 more than its leaves have"),
    "axis none": (leaf(axis=None), "scales: fewer than its leaves have"),
    "prior": (leaf(prior="auto"), "its prior is 'auto'"),
    "prior list": (leaf(prior=["laplace"]), "its prior is"),
    "dtype": (leaf(dtype="float64"), "its dtype is 'float64'"),
    "dtype object": (leaf(dtype="object"), "its dtype is 'object'"),
    "field of a leaf": (leaf(function="os.system"), "its record has other fields"),
    "groups of text": (leaf(group_size="64"), "its groups do not fit it"),
    "groups of none": (leaf(group_size=0), "its groups do not fit it"),
    "groups without an axis": (leaf(axis=None, group_size=64), "its groups do not fit it"),
    "groups along another axis": (leaf(axis=1, group_size=64), "its groups do not fit it"),
    "groups of bits by channel": (leaf(bits="6666", group_size=64), "its groups do not fit it"),
    "groups that are many": (leaf(bits=4, group_size=1), "offsets: fewer than its leaves have"),
    "no prior": (
        lambda arrays, record: record["leaves"][LEAF].pop("prior"),
        "its record has other fields",
    ),
    # Arrays.
    "no codes": (array("codes", None), "codes: fewer than its leaves have"),
    "no offsets": (array("offsets", None), "offsets: fewer than its leaves have"),
    "no scales": (array("scales", None), "scales: fewer than its leaves have"),
    "no scales of channels": (array("channel_scales", None), "fewer than its leaves have"),
    "codes too short": (array("codes", np.zeros(3, np.uint8)), "codes: fewer than its leaves have"),
    "codes of two axes": (
        array("codes", np.zeros((27, 1), np.uint8)),
        "codes: not a list of bytes",
    ),
    "codes int8": (array("codes", np.zeros(27, np.int8)), "codes: not a list of bytes"),
    "many codes": (array("codes", np.zeros(10**6, np.uint8)), "more than its leaves have"),
    "offsets of float64": (array("offsets", np.zeros(9)), "offsets: not a list of float32"),
    "offsets of two axes": (
        array("offsets", np.zeros((4, 2), np.float32)),
        "offsets: not a list of float32",
    ),
    "many offsets": (array("offsets", np.zeros(10**6, np.float32)), "more than its leaves have"),
    "offsets NaN": (array("offsets", np.full(9, np.nan, np.float32)), "its offsets are not finite"),
    "scales negative": (
        array("scales", np.full(9, -1, np.float32)),
        "its scales are not finite, or negative",
    ),
    "scales of channels float64": (
        array("channel_scales", np.zeros(9)),
        "channel_scales: not a list of float32",
    ),
    "scales of channels negative in float32": (
        array("channel_scales", np.full(9, -1, np.float32)),
        "its scales are not finite, or negative",
    ),
    # NaN, infinity and -1 in bfloat16.
    "scales of channels NaN": (
        array("channel_scales", np.full(9, 0x7FC0, np.uint16)),
        "its scales are not finite, or negative",
    ),
    "scales of channels infinite": (
        array("channel_scales", np.full(9, 0x7F80, np.uint16)),
        "its scales are not finite, or negative",
    ),
    "scales of channels negative": (
        array("channel_scales", np.full(9, 0xBF80, np.uint16)),
        "its scales are not finite, or negative",
    ),
    "extra array": (array("sr/params/more", np.zeros(3, np.float32)), "has params/more of shape"),
    "array gone": (
        array("sr/stats/stn/convs/0/bn/mean", None),
        "of shape .* but its arrays have None",
    ),
    "array under statistics": (
        moved("ocr/params/convs/2/bn/bias", "ocr/stats/convs/2/bn/bias"),
        "its arrays have",
    ),
    "array of float64": (array("sr/params/x", np.zeros(3)), "not an array of finite float32"),
    "array of integers": (array("sr/params/x", np.zeros(3, int)), "not an array of finite float32"),
    "array NaN": (
        array("sr/stats/stn/convs/0/bn/mean", np.full(4, np.nan, np.float32)),
        "not an array of finite float32",
    ),
    "array of no rows": (array("sr/params/x", np.zeros((0, 10**12), np.float32)), "of shape None"),
    "third part": (array("stn/params/x", np.zeros(3, np.float32)), "there is no place for"),
    "third kind": (array("sr/state/x", np.zeros(3, np.float32)), "there is no place for"),
    "no name": (array("sr/params/", np.zeros(3, np.float32)), "there is no place for"),
    "double slash": (array("sr/params//x", np.zeros(3, np.float32)), "there is no place for"),
    "slashes": (
        array("sr/params/" + "x/" * 50_000 + "x", np.zeros(3, np.float32)),
        "there is no place for",
    ),
    "lines": (array("sr/params/a\nb", np.zeros(3, np.float32)), r"no place for 'sr/params/a\\nb'"),
    "below a leaf": (
        array("sr/params/edsr/tail/bias/x", np.zeros(3, np.float32)),
        "lies below another leaf",
    ),
    "twice": (array(LEAF, np.zeros((3, 3, 1, 4), np.float32)), "is there twice"),
    "leaf elsewhere": (renamed_leaf("ocr/params/x/kernel"), "of shape"),
    "leaf with lines": (renamed_leaf("ocr/params/x\ny"), "there is no place for"),
    # The config.
    "config empty": (field("config", {}), "config.sr.name is missing, and it changes"),
    "config list": (field("config", [1]), "its record has values of a wrong kind"),
    "config without sr": (without("config/sr"), "config.sr.name is missing, and it changes"),
    "config.sr text": (field("config/sr", "edsr"), "config.sr='edsr': must be a mapping"),
    "sr without name": (without("config/sr/name"), "config.sr.name is missing, and it changes"),
    "no blocks": (without("config/sr/edsr/blocks"), "config.sr.edsr.blocks is missing, and it"),
    "unknown network": (field("config/sr/name", "os"), "config.sr.name='os': must be one of"),
    "network list": (field("config/sr/name", []), r"config.sr.name=\[\]: must be one of"),
    "unknown dtype": (field("config/sr/dtype", "object"), "config.sr.dtype='object': must be one"),
    "a billion blocks": (field("config/sr/edsr/blocks", 10**9), "must be a whole number from 1 to"),
    "many blocks": (field("config/sr/edsr/blocks", 150), "more than the file can fill|of shape"),
    "blocks text": (field("config/sr/edsr/blocks", "2"), "blocks='2': must be a whole number"),
    "broken blocks": (field("config/sr/edsr/blocks", 1.0), "blocks=1.0: must be a whole number"),
    "blocks true": (field("config/sr/edsr/blocks", True), "blocks=True: must be a whole number"),
    "no channels": (field("config/sr/edsr/channels", 0), "channels=0: must be a whole number"),
    "negative channels": (field("config/sr/edsr/channels", -4), "must be a whole number from 1"),
    "many channels": (field("config/sr/edsr/channels", 10**12), "must be a whole number from 1"),
    "wide": (field("config/sr/edsr/channels", 4096), "of shape"),
    "other channels": (field("config/sr/edsr/channels", 16), "of shape"),
    "unknown argument": (
        field("config/sr/edsr/function", "eval"),
        "config.sr.edsr has 'function', which is no field; take one of blocks",
    ),
    "crnn channels": (field("config/ocr/crnn/channels", []), "must be a list of 7 whole numbers"),
    "crnn widths": (field("config/ocr/crnn/channels", [10**9] * 7), "must be a list of 7 whole"),
    "crnn parameters": (field("config/ocr/crnn/channels", [4096] * 7), "of shape"),
    "cdistnet without heads": (
        lambda arrays, record: (
            field("config/ocr/name", "cdistnet")(arrays, record),
            field("config/ocr/cdistnet/heads", 0)(arrays, record),
        ),
        "config.ocr.cdistnet.heads=0: must be a whole number",
    ),
    "cdistnet of odd heads": (
        lambda arrays, record: (
            field("config/ocr/name", "cdistnet")(arrays, record),
            field("config/ocr/cdistnet/heads", 3)(arrays, record),
        ),
        "its config builds no network",
    ),
    "beam": (field("config/decoding/beam", 10**9), "beam=1000000000: must be a whole number"),
    "beams and steps": (
        lambda arrays, record: record["config"]["decoding"].update(beam=1000, steps=1000),
        "beam=1000 times config.decoding.steps=1000: must be at most 20000",
    ),
    "temperature": (field("config/decoding/temperature", "hot"), "temperature='hot': must be a"),
    "dots": (field("config/data/a.b", 1), "config.data has .*a.b.*, which is no field"),
    "field with lines": (field("config/sr/a\nblocks", 1), r"config.sr has 'a\\nblocks', which is"),
}


@pytest.mark.parametrize("case", FALSE)
def test_false_files_with_the_right_digest_are_refused(tmp_path, content, case):
    change, message = FALSE[case]
    arrays, record = parts(content)
    change(arrays, record)
    path = tmp_path / "file"
    path.write_bytes(sealed(arrays, record))
    with memory_up_to(1024):
        found = complaint(path)
    assert re.search(message, found)


@pytest.mark.parametrize("depth", [100, 900, 100_000])
@pytest.mark.parametrize("place", ["config", "provenance", "leaves", "sr", "record"])
def test_nested_bombs(tmp_path, content, place, depth):
    arrays, record = parts(content)
    mark = "BOMB"
    if place == "record":
        written = bomb(depth)
    else:
        if place == "sr":
            record["config"]["sr"]["edsr"]["blocks"] = mark
        elif place == "leaves":
            record["leaves"][LEAF]["shape"] = mark
        else:
            record[place]["data"] = mark
        written = json.dumps(record).replace(f'"{mark}"', bomb(depth))
    path = tmp_path / "file"
    path.write_bytes(sealed(arrays, written))
    with memory_up_to(1024):
        if place == "provenance" and depth < 1000:
            # Nothing walks through it.
            assert textsr_jax.load(path)
        else:
            complaint(path)


NASTY = [
    None,
    True,
    -1,
    0,
    1,
    3,
    9,
    2**31,
    10**12,
    2**63,
    -(2**70),
    1.5,
    1e308,
    float("nan"),
    "",
    "x",
]
NASTY += ["2" * 1000, "a\nb", [], {}, [10**12], [[1]], {"x": 1}, [None] * 9, "\ud800"]


def mutated(record, rng):
    """A copy of the record with one value changed, gone, new or under another name."""
    record = copy.deepcopy(record)
    nodes = [record]
    for node in nodes:
        nodes += [child for child in node.values() if isinstance(child, dict)]
    # Leaves are by far the most; half of the time something else.
    others = nodes[: len(nodes) - len(record["leaves"])]
    chosen = others if rng.random() < 0.5 else nodes
    node = chosen[rng.integers(len(chosen))]
    key = list(node)[rng.integers(len(node))] if node else "new"
    value = NASTY[rng.integers(len(NASTY))]
    kind = rng.integers(4)
    if kind == 0:
        node.pop(key, None)
    elif kind == 1:
        node["new" if rng.random() < 0.5 else "a\nb"] = value
    else:
        node[key] = value
    return record


@pytest.mark.slow
def test_mutated_records_are_read_or_refused_with_a_line(tmp_path, content):
    arrays, record = parts(content)
    rng = np.random.default_rng(3)
    path = tmp_path / "file"
    refused = 0
    with memory_up_to(1024):
        for _ in range(300):
            path.write_bytes(sealed(arrays, mutated(record, rng)))
            try:
                found = packed_files.load(path)
                config = found.experiment(path)
            except UserError as error:
                refused += 1
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
                continue
            # What is read may be saved again, and its config is one.
            packed_files.to_bytes(found)
            assert config.sr and config.ocr
    assert refused > 100


def test_foreign_files_are_named(tmp_path, content):
    path = tmp_path / "file"
    assert "no such" in complaint(path)
    assert "no such file; name one that" in complaint(path, packed_files.load)
    assert "is a folder, not a packed file" in complaint(tmp_path, packed_files.load)
    assert "holds no config.json" in complaint(tmp_path)
    no_packed_file = "not a packed file, or a damaged one; name one that quantize.py --out wrote"
    for foreign in (b"", b"a text that is longer than a header", content[:7], content[200:]):
        path.write_bytes(foreign)
        assert no_packed_file in complaint(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"x": 1}))
    assert no_packed_file in complaint(path)
    parameter_files.save(
        path,
        ParameterFile("edsr", "sr", {}, {"params": {"x": np.ones(3, np.float32)}, "stats": {}}),
    )
    assert "a safetensors file, but not a packed file; models of one" in complaint(path)
    safetensors.numpy.save_file({"conv.weight": np.ones(3, np.float32)}, path)
    assert "a safetensors file, but not a packed file" in complaint(path)


class Boom:
    """Unpickling it leaves a file."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return pathlib.Path.touch, (self.place,)


def test_nothing_in_a_file_is_run(tmp_path):
    path, trace = tmp_path / "file", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Boom(trace)))
    complaint(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()


def test_a_file_that_cannot_be_read(tmp_path, content, monkeypatch):
    def fail(self):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "file"
    path.write_bytes(content)
    monkeypatch.setattr(pathlib.Path, "read_bytes", fail)
    assert "cannot read it (Permission denied); see to its permissions" in complaint(path)


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, packed):
    path = tmp_path / "file"
    packed_files.save(path, handmade())
    before = path.read_bytes()
    with files_up_to(500), pytest.raises(UserError, match="cannot write it") as error:
        packed_files.save(path, packed)
    assert str(error.value).startswith(f"{path}: ")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    with pytest.raises(UserError, match="cannot write it"):
        packed_files.save(tmp_path / "none" / "file", packed)


def test_nothing_in_a_file_chooses_places_or_settings_of_this_machine(tmp_path, content):
    """Neither what older files hold, whatever it is, nor the name of a data root."""
    arrays, record = parts(content)
    config = record["config"]
    for part in ("init", "parallel"):
        assert part not in config
    assert "data_dir" not in config["data"] and "workers" not in config["data"]["synthetic"]
    config["data"].update(data_dir="/tmp/elsewhere", root="../../secret/words")
    config["data"]["synthetic"]["workers"] = 60
    config["init"] = {"sr": "/etc", "ocr": "~/x", "focus": 3, "grow": True}
    config["parallel"] = {"fsdp": 64, "rules": [["(a+)+", 0]]}
    config["evaluation"]["batch_size"] = 10**9
    config["stage1"] |= {"on_device": True, "hr_cache_gb": 1e9}
    path = tmp_path / "file"
    path.write_bytes(sealed(arrays, record))
    found = workdirs.load_config(path)
    assert found.data.data_dir == "" and found.data.synthetic.workers == 2
    assert found.data.root == "elsewhere:words"
    assert set(found.init.values()) == {"", False}
    assert found.parallel.fsdp == 1 and found.evaluation.batch_size == 64
    assert not found.stage1.on_device
    # Written again it has the name alone.
    assert portable(found)["data"]["root"] == "words"
    config["data"]["root"] = 5
    path.write_bytes(sealed(arrays, record))
    assert workdirs.load_config(path).data.root == ""

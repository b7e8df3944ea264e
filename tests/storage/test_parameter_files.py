"""Parameter files: what is saved comes back bit for bit; damaged and foreign ones are one line."""

import json

import hypothesis
import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.conftest import files_up_to, same
from textsr_jax.errors import UserError
from textsr_jax.storage import parameter_files
from textsr_jax.storage.parameter_files import Origin, ParameterFile

ARRAYS = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=5)
BRANCHES = st.recursive(
    ARRAYS, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=4), max_leaves=8
)
TREES = st.fixed_dictionaries(
    {
        "params": st.dictionaries(NAMES, BRANCHES, max_size=3),
        "stats": st.dictionaries(NAMES, BRANCHES, max_size=3),
    }
)


def tree(stn=False, width=4):
    """Variables of a small network."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    params = {"edsr": {"head": {"kernel": draw(3, 3, 3, width), "bias": draw(width)}}}
    stats = {}
    if stn:
        params["stn"] = {"bn": {"scale": draw(2)}}
        stats["stn"] = {"bn": {"mean": draw(2)}}
    return {"params": params, "stats": stats}


def template(**arguments):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree(**arguments)
    )


def saved(path, variables=None, part="sr", settings=None, origin=None):
    settings = {"name": "edsr"} if settings is None else settings
    file = ParameterFile("edsr", part, settings, tree() if variables is None else variables)
    parameter_files.save(path, file, origin)
    return path


def complaint(function, *arguments):
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.slow
@hypothesis.given(variables=TREES)
def test_trees_come_back_bit_for_bit(tmp_path_factory, variables):
    path = tmp_path_factory.mktemp("trees") / "file"
    file = ParameterFile("tsrn", "sr", {"name": "tsrn", "tsrn": {"blocks": 2}}, variables)
    parameter_files.save(path, file)
    loaded = parameter_files.load(path)
    assert (loaded.model, loaded.part, loaded.settings) == (file.model, file.part, file.settings)
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(variables)
    for before, after in zip(
        jax.tree.leaves(variables), jax.tree.leaves(loaded.variables), strict=True
    ):
        assert before.shape == after.shape
        assert after.dtype == np.float32
        # As bytes: a NaN is not equal to itself, and zeros have signs.
        assert before.tobytes() == after.tobytes()
    assert parameter_files.load_origin(path) is None


def test_what_the_network_does_not_use_is_kept_as_it_was(tmp_path):
    tensors = {
        "bn.num_batches_tracked": np.array(7),
        "gru.weight": np.arange(6, dtype=np.float16).reshape(2, 3),
        "pe": np.arange(3).astype(ml_dtypes.bfloat16),
    }
    origin = Origin({"key": "state_dict_G", "names": ["pe"]}, tensors)
    path = saved(tmp_path / "file", origin=origin)
    assert same(parameter_files.load(path).variables, tree())
    back = parameter_files.load_origin(path)
    assert back.record == origin.record
    assert back.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(back.tensors[name], tensor)


def test_the_dropped_tensors_are_not_read_with_the_tree(tmp_path):
    origin = Origin({}, {"gru": np.zeros(1000, np.float32)})
    path = saved(tmp_path / "file", origin=origin)
    # Safetensors puts arrays of one dtype in the order of their names: the dropped one is first.
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start : start + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    assert same(parameter_files.load(path).variables, tree())
    assert "damaged" in complaint(parameter_files.load_origin, path)


def test_files_are_the_same_for_the_same_variables(tmp_path):
    assert saved(tmp_path / "a").read_bytes() == saved(tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: content + b"x",
        lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        lambda content: content.replace(b"edsr/head/bias", b"edsr/head/bios"),
        lambda content: content.replace(rb"\"name\"", rb"\"mane\""),
        lambda content: content.replace(rb"\"sr\"", rb"\"xr\""),
        lambda content: content.replace(rb"\"settings\"", rb"\"sattings\""),
    ],
)
def test_damaged_files(tmp_path, change):
    path = saved(tmp_path / "file")
    content = path.read_bytes()
    damaged = change(content)
    assert damaged != content
    path.write_bytes(damaged)
    message = complaint(parameter_files.load, path)
    assert message.startswith(f"{path}: a damaged parameter file (")
    assert message.endswith("; copy it again or convert again")


def with_array(path, name, array, **record):
    """The file again, sound but for one array and what changes in its record."""
    with safe_open(path, framework="np") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["textsr_jax"]) | record
    arrays[name] = array
    settings = [about["model"], about["part"], about["settings"]]
    about["checksum"] = parameter_files._checksum(arrays, settings)
    save_file(arrays, path, {"textsr_jax": json.dumps(about)})
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    spoiled = np.array([1, value, 2], np.float32)
    path = with_array(saved(tmp_path / "file"), "params/edsr/x", spoiled)
    message = complaint(parameter_files.load, path)
    assert message.startswith(f"{path}: 'params/edsr/x' has values that are not finite")
    variables = {"params": {"x": spoiled}, "stats": {}}
    with pytest.raises(UserError, match=r"params/x: not all values are finite"):
        parameter_files.save(tmp_path / "new", ParameterFile("edsr", "sr", {}, variables))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.int64, np.uint8, bool])
def test_other_dtypes_than_float32_are_refused(tmp_path, dtype):
    path = with_array(saved(tmp_path / "file"), "params/edsr/x", np.ones(3, dtype))
    message = complaint(parameter_files.load, path)
    assert f"'params/edsr/x' is {np.dtype(dtype)}, and parameters are float32" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "edsr", "edsr": {"blocks": 10**9}}, "config.sr.edsr.blocks=1000000000: must be"),
        ({"name": "edsr", "edsr": {"blocks": "2"}}, "config.sr.edsr.blocks='2': must be"),
        ({"name": "os"}, "config.sr.name='os': must be one of"),
        ({"edsr": {"eval": 1}}, "config.sr.edsr has 'eval', which is no field"),
        ({"edsr": {"blocks": 100, "channels": 4096}}, "a network of some"),
    ],
)
def test_settings_that_no_network_has_are_refused(tmp_path, settings, message):
    ones = np.ones(3, np.float32)
    path = with_array(saved(tmp_path / "file"), "params/edsr/x", ones, settings=settings)
    assert message in complaint(parameter_files.load, path)


def test_no_change_of_a_single_byte_goes_unseen(tmp_path):
    path = saved(tmp_path / "file", origin=Origin({"key": None}, {"gru": np.ones(2, np.float32)}))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(content), 100, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            loaded, origin = parameter_files.load(path), parameter_files.load_origin(path)
        except UserError:
            continue
        # What JSON allows to change: a space, a letter's escape.
        assert same(loaded.variables, tree())
        assert (loaded.model, loaded.part, loaded.settings) == ("edsr", "sr", {"name": "edsr"})
        assert origin is None or origin.record == {"key": None}


def test_foreign_files(tmp_path):
    path = tmp_path / "file"
    assert "no such file" in complaint(parameter_files.load, path)
    assert "is a folder" in complaint(parameter_files.load, tmp_path)
    path.write_bytes(b"")
    assert "not a parameter file, or a damaged one" in complaint(parameter_files.load, path)
    path.write_text("<!DOCTYPE html><title>404</title>")
    assert ": a web page, not the file itself" in complaint(parameter_files.load, path)
    path.write_text("a text that is longer than a header")
    assert "not a parameter file, or a damaged one" in complaint(parameter_files.load, path)
    path.write_bytes(b"PK\x03\x04 and more of a zip archive")
    assert "a PyTorch checkpoint" in complaint(parameter_files.load, path)
    save_file({"conv.weight": np.ones(3, np.float32)}, path)
    message = complaint(parameter_files.load, path)
    assert f"convert it: python -m textsr_jax.convert MODEL {path}" in message
    assert not parameter_files.is_parameter_file(path)
    assert parameter_files.is_parameter_file(saved(path))


def test_a_file_of_a_later_version(tmp_path):
    path = saved(tmp_path / "file")
    content = path.read_bytes()
    path.write_bytes(content.replace(rb"\"version\": 1", rb"\"version\": 2"))
    assert "of version 2, and this program reads version 1" in complaint(parameter_files.load, path)


def test_only_float32_trees_with_plain_keys_are_saved(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(ValueError, match="'params/w' is float64"):
        saved(path, {"params": {"w": np.ones(2)}, "stats": {}})
    with pytest.raises(ValueError, match="without slashes"):
        saved(path, {"params": {"a/b": np.ones(2, np.float32)}, "stats": {}})
    with pytest.raises(ValueError, match="no part 'stn'"):
        saved(path, part="stn")
    assert not path.exists()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = saved(tmp_path / "file")
    with files_up_to(500):
        message = complaint(saved, path, tree(width=64))
    assert message.startswith(f"{path}: cannot write it (")
    assert same(parameter_files.load(path).variables, tree())
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert "cannot write it (No such file" in complaint(saved, tmp_path / "none" / "file")
    assert "is a folder" in complaint(saved, tmp_path)


def fill(path, part, name, template):
    file = parameter_files.load(path)
    return parameter_files.variables_for(file, part, name, template, f"--file={path}")


def test_a_file_fills_the_network_of_a_config(tmp_path):
    path = saved(tmp_path / "file")
    assert same(fill(path, "sr", "edsr", template()), tree())
    focus = saved(tmp_path / "focus", part="focus", settings={})
    assert same(fill(focus, "focus", "focus", template()), tree())


def test_the_stn_may_be_in_the_file_alone_or_in_the_network_alone(tmp_path):
    without, with_stn = saved(tmp_path / "a"), saved(tmp_path / "b", tree(stn=True))
    assert same(fill(without, "sr", "edsr", template(stn=True)), tree())
    assert same(fill(with_stn, "sr", "edsr", template(stn=True)), tree(stn=True))
    found = fill(with_stn, "sr", "edsr", template())
    assert found["params"].keys() == {"edsr"}
    np.testing.assert_array_equal(
        found["params"]["edsr"]["head"]["bias"],
        tree(stn=True)["params"]["edsr"]["head"]["bias"],
    )


def test_a_file_of_another_network(tmp_path):
    path = saved(tmp_path / "file")
    message = complaint(fill, path, "ocr", "cdistnet", template())
    assert message == (
        f"--file={path}: holds 'edsr', a network for config.init.sr; name a file for config.ocr"
    )
    message = complaint(fill, path, "sr", "tsrn", template())
    assert message == (
        f"--file={path}: holds 'edsr', but config.sr.name is 'tsrn'; set one to the other"
    )


def test_a_file_of_another_size(tmp_path):
    path = saved(tmp_path / "file")
    assert "has shape (4,), but the network's has (8,)" in complaint(
        fill, path, "sr", "edsr", template(width=8)
    )
    larger = template()
    larger["params"]["edsr"]["tail"] = larger["params"]["edsr"]["head"]
    message = complaint(fill, path, "sr", "edsr", larger)
    assert "has no 'params/edsr/tail/bias'" in message
    smaller = template()
    del smaller["params"]["edsr"]["head"]["bias"]
    message = complaint(fill, path, "sr", "edsr", smaller)
    assert "holds 'params/edsr/head/bias', which the network does not have" in message


def test_arrays_have_the_paths_of_their_leaves(tmp_path):
    path = saved(tmp_path / "file", tree(stn=True))
    with safe_open(path, framework="np") as file:
        assert list(file.keys()) == [
            "params/edsr/head/bias",
            "params/edsr/head/kernel",
            "params/stn/bn/scale",
            "stats/stn/bn/mean",
        ]

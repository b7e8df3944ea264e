"""python -m textsr_jax.convert: every published form is read, ill-fitting files are one line."""

import collections
import json
import os
import pathlib
import sys

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.golden import reference_tensors
from tests import forked
from tests.conftest import micro_config, same
from textsr_jax import convert
from textsr_jax.config.checks import checked
from textsr_jax.convert import checkpoint_files, files
from textsr_jax.errors import UserError
from textsr_jax.models import build_prior, build_sr
from textsr_jax.storage import parameter_files, workdirs

ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments):
    return forked.run(["-m", "textsr_jax.convert", *arguments])


def state_dict(model, seed=0):
    """A stand-in for a published checkpoint, everything that the file holds included."""
    file = "text_focus_recognizer" if model == "text_focus" else model
    tensors = reference_tensors.state_dict(file, seed)
    spec = json.loads((reference_tensors.HERE / f"{file}.json").read_text())
    for name, shape in spec["constants"].items():
        tensors[name] = reference_tensors.tensor(name, tuple(shape), seed)
    return collections.OrderedDict(
        (name, torch.from_numpy(array.copy())) for name, array in tensors.items()
    )


def as_published(model, tensors):
    """The content of the published file."""
    if model in convert.WITH_STN:
        return {
            "state_dict_G": tensors,
            "info": {"arch": model, "iters": 7, "epochs": 3, "up_scale_factor": 2},
            "best_history_res": {"easy": np.float64(0.5), "epoch": 3},
            "converge": [{"acc": np.float32(0.25), "psnr": 21.0}],
            "param_num": 2_980_575,
        }
    if model in ("edsr", "resampler", "text_focus"):
        return collections.OrderedDict((f"module.{name}", t) for name, t in tensors.items())
    return tensors


def expected(model, tensors):
    """The tree of these tensors, imported as arrays."""
    arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    network = convert.network(model, stn=convert.holds_stn(model, tensors))
    return convert.import_state_dict(model, arrays, network.template)


def same_bits(first, second):
    """Whether two state dicts hold the same tensors in the same order, bit for bit."""
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert tensor.shape == second[name].shape, name
        assert tensor.numpy(force=True).tobytes() == second[name].numpy(force=True).tobytes(), name
    return True


def complaint(function, *arguments):
    with pytest.raises(UserError) as error:
        function(*map(str, arguments))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def crnn():
    return state_dict("crnn")


def there_and_back(model, path, folder):
    """Converts, and back: the parameter file and the content of the new checkpoint file."""
    out, back = folder / "out.params", folder / "back.pth"
    files.import_file(model, str(path), str(out))
    files.export_file(model, str(out), str(back))
    return parameter_files.load(out), torch.load(back, weights_only=True)


# These are read, written and compared whole: more than a gigabyte of it.
LARGE = ("edsr", "text_focus", "cdistnet")
# These would be as large; a smaller size has a test of its own.
SMALL = ("lemma", "abinet")
MODELS = [
    pytest.param(model, marks=[pytest.mark.slow] * (model in LARGE))
    for model in convert.TABLES
    if model not in SMALL
]


@pytest.mark.parametrize("model", MODELS)
def test_a_published_file_makes_the_tree_and_comes_back_exactly(model, saved, tmp_path):
    tensors = state_dict(model, seed=5)
    published = as_published(model, tensors)
    file, back = there_and_back(model, saved(published), tmp_path)
    assert file.model == model
    assert same(file.variables, expected(model, tensors))
    if model in convert.WITH_STN:
        assert back.keys() == {"state_dict_G"}
        assert same_bits(published["state_dict_G"], back["state_dict_G"])
    else:
        assert same_bits(published, back)


def test_a_network_and_its_recognisers_come_from_files_and_go_back(crnn, saved, tmp_path):
    tensors = state_dict("tpgsr")
    network = collections.OrderedDict(
        (name, tensor) for name, tensor in tensors.items() if not name.startswith("prior.")
    )
    other = collections.OrderedDict((name, tensor + 1) for name, tensor in crnn.items())
    contents = {"model": {"state_dict_G": network}, "first": crnn, "second": {"net": other}}
    paths = [str(saved(content, f"{name}.pth")) for name, content in contents.items()]
    out = tmp_path / "out.params"
    lines = files.import_file("tpgsr", ",".join(paths), str(out))
    assert lines[-1].endswith(
        f"--config.sr.name=tpgsr --config.sr.tpgsr.stages=2 --config.init.sr={out}"
    )
    file = parameter_files.load(out)
    assert file.settings == {"name": "tpgsr", "tpgsr": {"stages": 2}}
    prior = file.variables["params"]["prior"]
    whole = expected("crnn", crnn)["params"]
    assert same(prior["0"], whole)
    assert same(prior["1"]["convs"]["0"]["conv"]["bias"], whole["convs"]["0"]["conv"]["bias"] + 1)
    backs = [str(tmp_path / f"back{number}.pth") for number in range(3)]
    files.export_file("tpgsr", str(out), ",".join(backs))
    for back, content in zip(backs, contents.values(), strict=True):
        found = torch.load(back, weights_only=True)
        (key,) = content if len(content) == 1 else (None,)
        assert same_bits(
            found if key is None else found[key], content if key is None else content[key]
        )
    message = complaint(files.export_file, "tpgsr", out, ",".join(backs[:2]))
    assert "2 files; name one, or 3: the network's and one for each recogniser" in message


@pytest.mark.parametrize("model", SMALL)
def test_lemma_and_abinet_come_from_files_and_go_back(model, saved, tmp_path, monkeypatch):
    sizes = {"heads": 2, "hidden": 4, "key_channels": 4, "channels": [4] * 6, "depths": [1] * 5}
    sr = {"name": "lemma", "dtype": "float32", "apply_stn": "train", "abinet": sizes}
    sr["lemma"] = {"channels": 4, "heads": 2}
    network = build_sr(sr) if model == "lemma" else build_prior(sr)
    monkeypatch.setattr(files, "published_network", lambda *_: network)
    rng = np.random.default_rng(0)
    shapes = convert.TABLES[model].published(network.template)
    tensors = {name: torch.from_numpy(rng.random(s, np.float32)) for name, s in shapes.items()}
    parts, key = [tensors], "state_dict_G"
    if model == "abinet":
        parts, key = [{}, {}], "model"
        for name, tensor in tensors.items():
            branch, _, rest = name.partition(".")
            parts[branch == "language"][rest] = tensor
    paths = [saved({key: part}, f"{number}.pth") for number, part in enumerate(parts)]
    out, backs = str(tmp_path / "out"), [str(tmp_path / f"back{n}") for n in range(len(parts))]
    lines = files.import_file(model, ",".join(map(str, paths)), out)
    part = "sr" if model == "lemma" else "prior"
    config = " --config.sr.name=lemma" if model == "lemma" else ":lemma"
    assert lines[-1] == f"use it: --config=configs/paper.py{config} --config.init.{part}={out}"
    file = parameter_files.load(out)
    assert (file.part, file.settings) == (part, {"name": "lemma"} if model == "lemma" else {})
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    assert same(file.variables, convert.import_state_dict(model, arrays, network.template))
    files.export_file(model, out, ",".join(backs))
    for back, part in zip(backs, parts, strict=True):
        assert same_bits(torch.load(back, weights_only=True)[key], part)
    if model == "abinet":
        message = complaint(files.export_file, model, out, ",".join([*backs, "third"]))
        assert "3 files; name one, or 2: one for each branch" in message


def test_wrappings_that_are_not_the_published_one_are_restored(crnn, saved, tmp_path):
    tensors = {f"module.{name}": tensor for name, tensor in crnn.items()}
    path = saved({"model": tensors, "epoch": 4}, _use_new_zipfile_serialization=False)
    file, back = there_and_back("crnn", path, tmp_path)
    assert same(file.variables, expected("crnn", crnn))
    assert back.keys() == {"model"}
    assert same_bits(tensors, back["model"])


def test_what_is_said(saved, tmp_path):
    path, out = (
        saved(as_published("tbsrn", state_dict("tbsrn")), "model_best.pth"),
        tmp_path / "out",
    )
    lines = files.import_file("tbsrn", str(path), str(out))
    assert lines[0] == f"{path}: tbsrn, 346 tensors under 'state_dict_G'"
    assert lines[1] == "207 tensors taken, 2,980,460 parameters"
    assert lines[2] == "135 tensors dropped, the network never uses them:"
    assert "  block{2-6}.gru{1,2}.conv1.weight (64, 64, 1, 1)" in lines
    assert "  conv.weight (3, 3, 3, 3)" in lines
    assert "  stn_head.stn_convnet.{0,2,4,6,8,10}.1.num_batches_tracked ()" in lines
    assert "4 tensors dropped, the network computes them itself:" in lines
    assert "  tps.inverse_kernel (23, 23)" in lines
    assert "left out: info, best_history_res, converge, param_num" in lines
    assert lines[-2:] == [
        f"written to {out}",
        f"use it: --config=configs/paper.py --config.sr.name=tbsrn --config.init.sr={out}",
    ]
    back = files.export_file("tbsrn", str(out), str(tmp_path / "back.pth"))
    assert back == [
        f"{out}: tbsrn",
        f"written to {tmp_path / 'back.pth'}: 346 tensors under 'state_dict_G'",
    ]


def test_names_that_differ_in_one_number_are_listed_together():
    names = ["a1.b1", "a1.b2", "a2.b1", "a2.b2", "a3.b1", "c", "d1", "d2", "d3", "d5", "e8", "e9"]
    assert list(files._together(names)) == ["a{1-3}.b1", "a{1,2}.b2", "c", "d{1,2,3,5}", "e{8,9}"]


def test_files_without_an_stn(saved, tmp_path):
    tensors = state_dict("tsrn")
    without = {n: t for n, t in tensors.items() if not n.startswith(("stn_head.", "tps."))}
    file, back = there_and_back("tsrn", saved({"state_dict_G": without}), tmp_path)
    assert file.variables["params"].keys() == {"tsrn"}
    whole = expected("tsrn", tensors)
    assert same(file.variables["params"]["tsrn"], whole["params"]["tsrn"])
    assert same_bits(without, back["state_dict_G"])
    # It fills a network with an STN all the same: training draws one.
    template = convert.network("tsrn", stn=True).template
    filled = parameter_files.variables_for(file, "sr", "tsrn", template, "out.params")
    assert same(filled, file.variables)


def test_safetensors_with_the_published_names(crnn, tmp_path, monkeypatch):
    path, out = tmp_path / "crnn.safetensors", tmp_path / "out.params"
    tensors = {f"module.{name}": tensor for name, tensor in crnn.items()}
    save_file(tensors, path)
    # None of it needs PyTorch.
    monkeypatch.setitem(sys.modules, "torch", None)
    files.import_file("crnn", str(path), str(out))
    files.export_file("crnn", str(out), str(tmp_path / "back.safetensors"))
    monkeypatch.undo()
    assert same(parameter_files.load(out).variables, expected("crnn", crnn))
    back = checkpoint_files.read(tmp_path / "back.safetensors").tensors
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(back[name], tensor)


def test_without_torch(crnn, saved, tmp_path, monkeypatch):
    path = saved(crnn)
    out = tmp_path / "out.params"
    monkeypatch.setitem(sys.modules, "torch", None)
    files.import_file("crnn", str(path), str(out))
    message = complaint(files.export_file, "crnn", out, tmp_path / "back.pth")
    assert "needs PyTorch: pip install -e '.[convert]'" in message
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pth", "out.params"]
    monkeypatch.undo()
    assert same(parameter_files.load(out).variables, expected("crnn", crnn))


@pytest.mark.parametrize(
    "before",
    [
        "module.module.",
        "_orig_mod.",
        "model.",
        "module._orig_mod.",
        "_orig_mod.module.model.",
        "model.net.",
        "_forward_module.module.",
    ],
)
def test_prefixes_in_any_nesting_fall_off_and_come_back(before, crnn, saved, tmp_path):
    tensors = collections.OrderedDict((before + name, tensor) for name, tensor in crnn.items())
    path, out = saved({"state_dict": tensors}), tmp_path / "out.params"
    lines = files.import_file("crnn", str(path), str(out))
    assert lines[0].endswith(f"tensors under 'state_dict', behind {before}")
    assert same(parameter_files.load(out).variables, expected("crnn", crnn))
    files.export_file("crnn", str(out), str(tmp_path / "back.pth"))
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert same_bits(tensors, back["state_dict"])


def test_a_part_that_was_wrapped_and_the_count_of_an_average(crnn, saved, tmp_path):
    inner = {name.replace("cnn.", "cnn._orig_mod.", 1): tensor for name, tensor in crnn.items()}
    averaged = {f"module.{name}": tensor for name, tensor in inner.items()}
    path = saved({"n_averaged": torch.tensor(5), **averaged})
    out = tmp_path / "out.params"
    files.import_file("crnn", str(path), str(out))
    assert same(parameter_files.load(out).variables, expected("crnn", crnn))


@pytest.mark.slow
def test_the_entry_that_the_user_names(crnn, saved, tmp_path):
    other = {
        name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in crnn.items()
    }
    path, out = saved({"params": other, "params_ema": crnn, "iter": 7}), tmp_path / "out.params"
    message = complaint(files.import_file, "crnn", path, out)
    assert message == (
        f"{path}: tensors are in several of its entries: params, params_ema; choose one, "
        "--entry=params"
    )
    done = run("crnn", path, "--out", out, "--entry=params_ema")
    assert done.returncode == 0, done.stderr
    assert "left out: params, iter" in done.stdout
    assert same(parameter_files.load(out).variables, expected("crnn", crnn))
    message = complaint(files.import_file, "crnn", path, out, "ema")
    assert message.endswith("--entry=ema holds no tensors; its entries that do: params, params_ema")


@pytest.mark.slow
def test_keys_with_effects_are_escaped(crnn, saved, tmp_path):
    evil = "\x1b[2J\n\u2028\u202eerror: forged"
    path, out = saved({"state_dict": crnn, evil: 3}), tmp_path / "out.params"
    done = run("crnn", path, "--out", out)
    assert done.returncode == 0, done.stderr
    escaped = "\\x1b[2J\\n\\u2028\\u202eerror: forged"
    assert f"left out: {escaped}\n" in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())
    done = run("crnn", saved({"state_dict": {**crnn, evil: torch.ones(2)}}), "--out", out)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert escaped in done.stderr and done.stderr.rstrip("\n").isprintable()


def test_a_dropped_tensor_whose_name_no_file_can_hold(crnn, saved, tmp_path):
    path = saved({**crnn, "\ud800.num_batches_tracked": torch.tensor(1)})
    message = complaint(files.import_file, "crnn", path, tmp_path / "out.params")
    assert "tensor '\\ud800.num_batches_tracked' has a name with control characters" in message


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_numbers_that_are_not_finite_as_float32(bad, crnn, saved, tmp_path):
    name = next(iter(crnn))
    tensor = crnn[name].double()
    tensor[(0,) * tensor.ndim] = bad
    path = saved({**crnn, name: tensor})
    message = complaint(files.import_file, "crnn", path, tmp_path / "out.params")
    assert f"tensor {name!r} holds NaN, infinite or too large numbers" in message


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        *(pytest.param(d, marks=pytest.mark.slow) for d in (torch.half, torch.bfloat16)),
    ],
)
def test_other_precisions_are_cast_and_come_back_exactly(crnn, dtype, saved, tmp_path):
    tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in crnn.items()}
    if dtype == torch.float64:
        # A number that float32 does not have.
        tensors["rnn.1.embedding.bias"] += 1e-12
    path = saved(tensors)
    file, back = there_and_back("crnn", path, tmp_path)
    assert {leaf.dtype for leaf in jax.tree.leaves(file.variables)} == {np.dtype(np.float32)}
    assert same(file.variables, expected("crnn", tensors))
    assert list(back) == list(tensors)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    assert {back[name].dtype == tensor.dtype for name, tensor in tensors.items()} == {True}
    lines = files.import_file("crnn", str(path), str(tmp_path / "out.params"))
    assert f"46 of them were {str(dtype)[6:]} and are float32 now" in lines


class Wrecker:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.slow
def test_the_refusal_from_outside(crnn, saved, tmp_path):
    marker = tmp_path / "marker"
    path = saved({"state_dict": crnn, "info": Wrecker(marker)})
    finished = run("crnn", path, "--out", tmp_path / "out.params")
    assert finished.returncode == 2
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith(f"error: {path}: refused, and nothing in it was run: it asks for ")
    assert finished.stdout == ""
    assert os.listdir(tmp_path) == ["checkpoint.pth"]


@pytest.mark.slow
def test_there_and_back_from_outside(crnn, saved, tmp_path):
    path, out, back = saved(crnn, "crnn.pth"), tmp_path / "out.params", tmp_path / "back.pth"
    finished = run("crnn", path, "--out", out)
    assert finished.returncode == 0, finished.stderr
    assert f"written to {out}" in finished.stdout
    finished = run("--to-torch", "crnn", out, f"--out={back}")
    assert finished.returncode == 0, finished.stderr
    assert same_bits(crnn, torch.load(back, weights_only=True))


def test_help_shows_an_example_for_every_model():
    text = run("--help").stdout
    for model in convert.TABLES:
        assert f"python -m textsr_jax.convert {model} " in text
    assert "--out" in text and "--[no]to-torch" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["crnn", "crnn.pth"], "--out is missing"),
        (["crnn", "--out=x"], "1 arguments; use: python -m textsr_jax.convert MODEL FILE"),
        (["crn", "crnn.pth", "--out=x"], "'crn': there is no such model; did you mean 'crnn'?"),
        (["crnn", "none.pth", "--out=x"], "none.pth: no such file"),
        (["crnn", "none.pth", "--to-torch", "--out=x"], "none.pth: no such file"),
        (["crnn", "tests", "--to-torch", "--out=x"], "tests holds no config.json"),
        (["crnn", "tests", "--out=x"], "tests: is a folder"),
        (["crnn", "none.pth", "--owt=x"], "'owt'"),
    ],
)
@pytest.mark.slow
def test_bad_input_is_one_line_and_status_2(arguments, expected):
    finished = run(*arguments)
    assert finished.returncode == 2
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not (ROOT / "x").exists()


def test_a_missing_tensor(crnn, saved, tmp_path):
    path = saved({n: t for n, t in crnn.items() if n != "cnn.conv3.weight"})
    message = complaint(files.import_file, "crnn", path, tmp_path / "out.params")
    assert message == (
        f"{path}: tensor 'cnn.conv3.weight' is missing (it fills 'convs/3/conv/kernel'); the rest "
        "of the file looks like crnn: use a whole checkpoint of it"
    )


def test_an_extra_tensor(crnn, saved, tmp_path):
    path = saved({**crnn, "cnn.conv9.weight": torch.ones(3)})
    message = complaint(files.import_file, "crnn", path, tmp_path / "out.params")
    assert f"{path}: tensor 'cnn.conv9.weight' (3,) is unknown to the network; the rest" in message


def test_a_wrong_shape(crnn, saved, tmp_path):
    path = saved({**crnn, "rnn.1.embedding.bias": torch.ones(63)})
    message = complaint(files.import_file, "crnn", path, tmp_path / "out.params")
    assert "tensor 'rnn.1.embedding.bias' has shape (63,), but the network needs (37,)" in message


@pytest.mark.slow
def test_another_size(crnn, saved, tmp_path):
    path = saved({name: torch.ones((2,) * tensor.dim()) for name, tensor in crnn.items()})
    message = complaint(files.import_file, "crnn", path, tmp_path / "out.params")
    assert "the file looks like crnn of another size; use one of the published size" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("tbsrn", "tsrn"),
        pytest.param("tsrn", "tbsrn", marks=pytest.mark.slow),
        pytest.param("crnn", "tsrn", marks=pytest.mark.slow),
    ],
)
def test_the_model_that_the_file_looks_like_is_named(model, asked, saved, tmp_path):
    path = saved(as_published(model, state_dict(model)))
    message = complaint(files.import_file, asked, path, tmp_path / "out.params")
    assert message.startswith(f"{path}: tensor '")
    assert message.endswith(f"; the file looks like {model}: name that model instead")
    assert os.listdir(tmp_path) == ["checkpoint.pth"]


@pytest.mark.slow
def test_a_file_of_something_else(saved, tmp_path):
    path = saved({"conv1.weight": torch.ones(64, 3, 7, 7)})
    message = complaint(files.import_file, "crnn", path, tmp_path / "out.params")
    assert "; the file looks like none of edsr, tbsrn, tsrn, " in message


def test_what_can_be_named_as_out(crnn, saved, tmp_path):
    path = saved(crnn)
    before = path.read_bytes()
    message = complaint(files.import_file, "crnn", path, path)
    assert message == f"--out={path}: is the file to convert; name another"
    assert path.read_bytes() == before
    assert "is a folder" in complaint(files.import_file, "crnn", path, tmp_path)
    assert "cannot write it" in complaint(files.import_file, "crnn", path, tmp_path / "no" / "out")
    out = tmp_path / "out"
    out.write_text("an earlier file")
    files.import_file("crnn", str(path), str(out))
    assert parameter_files.load(out).model == "crnn"


def test_our_own_file_given_for_a_published_one_and_the_other_way_round(crnn, saved, tmp_path):
    path, out, other = saved(crnn), tmp_path / "out.params", tmp_path / "other"
    files.import_file("crnn", str(path), str(out))
    message = complaint(files.import_file, "crnn", out, other)
    assert message == (
        f"{out}: a parameter file already, of crnn: name it in config.init.ocr; for the way back "
        "add --to-torch"
    )
    assert "a PyTorch checkpoint, not a parameter file" in complaint(
        files.export_file, "crnn", path, other
    )
    assert complaint(files.export_file, "tsrn", out, other) == (
        f"{out}: holds crnn, not tsrn; name crnn"
    )


def test_a_converted_file_fills_the_network_of_a_config(crnn, saved, tmp_path):
    out = tmp_path / "out.params"
    files.import_file("crnn", str(saved(crnn)), str(out))
    template = convert.network("crnn").template
    file = parameter_files.load(out)
    filled = parameter_files.variables_for(file, "ocr", "crnn", template, str(out))
    assert same(filled, expected("crnn", crnn))


def test_the_best_of_a_workdir_in_published_names(trained, tmp_path):
    from textsr_jax.models import build_sr
    from textsr_jax.storage import checkpoints

    back = tmp_path / "usn.pth"
    lines = files.export_file("edsr", str(trained), str(back))
    assert lines[0] == f"{trained}: edsr, the best of stage1"
    assert "the STN is left out: the published edsr has none" in lines
    assert any(line.startswith("it is of another size than the published edsr") for line in lines)
    assert "  (sub|add)_mean.(weight|bias)" in lines
    tensors = torch.load(back, weights_only=True)
    # One block of 8 channels: the convolution behind it is body.1.
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert shapes == {
        "module.head.0.weight": (8, 3, 3, 3),
        "module.head.0.bias": (8,),
        "module.body.0.body.0.weight": (8, 8, 3, 3),
        "module.body.0.body.0.bias": (8,),
        "module.body.0.body.2.weight": (8, 8, 3, 3),
        "module.body.0.body.2.bias": (8,),
        "module.body.1.weight": (8, 8, 3, 3),
        "module.body.1.bias": (8,),
        "module.tail.0.0.weight": (32, 8, 3, 3),
        "module.tail.0.0.bias": (32,),
        "module.tail.1.weight": (3, 8, 3, 3),
        "module.tail.1.bias": (3,),
    }
    template = build_sr(workdirs.load_config(trained).sr).template
    best, _ = checkpoints.load_best(trained, "stage1", checkpoints.abstract(template))
    np.testing.assert_array_equal(
        tensors["module.body.1.weight"].numpy().transpose(2, 3, 1, 0),
        best["params"]["edsr"]["body_end"]["kernel"],
    )


def test_the_recognisers_of_a_workdir(trained, tmp_path):
    lines = files.export_file("cdistnet", str(trained), str(tmp_path / "ocr.safetensors"))
    assert lines[0] == f"{trained}: cdistnet, the best of stage2"
    assert "  visual_branch.trans_encoder.pos_embeding" in lines
    assert "  .*num_batches_tracked" not in lines
    read = checkpoint_files.read(tmp_path / "ocr.safetensors")
    assert "tgt_word_prj.weight" in read.tensors
    lines = files.export_file("text_focus", str(trained), str(tmp_path / "focus.pth"))
    assert lines[0] == f"{trained}: text_focus, the best of pretrain_focus"
    assert "module.generator_word.proj.weight" in torch.load(tmp_path / "focus.pth")
    message = complaint(files.export_file, "tsrn", trained, tmp_path / "x")
    assert message.endswith("its config.sr.name is edsr, not tsrn; name edsr")


def test_a_recogniser_of_another_alphabet_is_no_published_one(tmp_path):
    config = micro_config("", "")
    config.alphabet = "printable"
    workdirs.save_config(checked(config), tmp_path)
    message = complaint(files.export_file, "cdistnet", tmp_path, tmp_path / "x")
    assert "its recogniser writes the printable alphabet, and published ones write 0123" in message

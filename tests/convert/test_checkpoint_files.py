"""Checkpoint files: every wrapping is seen through, and no pickle runs any code."""

import collections
import os

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from textsr_jax.convert import checkpoint_files
from textsr_jax.convert.checkpoint_files import Checkpoint
from textsr_jax.errors import UserError

TENSORS = collections.OrderedDict(
    {
        "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
        "a.bias": torch.tensor([1.5, -0.0], dtype=torch.float16),
        "bn.num_batches_tracked": torch.tensor(7),
        "pe": torch.tensor([1.0, 3.140625], dtype=torch.bfloat16),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "empty": torch.zeros(0, 3),
    }
)


def array(tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().numpy()


def holds(checkpoint, tensors):
    """Whether a checkpoint holds these tensors in this order, bit for bit."""
    assert list(checkpoint.tensors) == list(tensors)
    for name, tensor in tensors.items():
        found, right = checkpoint.tensors[name], array(tensor)
        assert (found.dtype, found.shape) == (right.dtype, right.shape), name
        assert found.tobytes() == right.tobytes(), name
    return True


def complaint(path):
    with pytest.raises(UserError) as error:
        checkpoint_files.read(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


def parameters(tensors):
    return {name: torch.nn.Parameter(t, t.is_floating_point()) for name, t in tensors.items()}


TEXTZOOM = {
    "info": {"arch": "tsrn", "epochs": 3},
    "best_history_res": {"easy": np.float64(0.5), "epoch": np.int64(3)},
    "converge": [{"acc": np.float32(0.25), "psnr": np.array([21.0, 22.0])}],
}
ADAM = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("wrap", "key", "beside"),
    [
        (lambda tensors: tensors, None, ()),
        (parameters, None, ()),
        (lambda tensors: {**tensors, "epoch": 3}, None, ("epoch",)),
        (lambda tensors: {"state_dict_G": tensors, **TEXTZOOM}, "state_dict_G", tuple(TEXTZOOM)),
        (lambda tensors: {"epoch": 4, "state_dict": tensors}, "state_dict", ("epoch",)),
        (lambda tensors: {"model": {**tensors, "note": "x"}}, "model", ("model.note",)),
        (lambda tensors: {"net": tensors, "model": {}}, "net", ("model",)),
        (lambda tensors: {"generator": tensors, "adam": ADAM}, "generator", ("adam",)),
        (
            lambda tensors: {"state_dict_D": TENSORS, "state_dict_G": tensors},
            "state_dict_G",
            ("state_dict_D",),
        ),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_wrapping_is_seen_through(wrap, key, beside, zipped, prefix, saved):
    tensors = {prefix + name: tensor for name, tensor in TENSORS.items()}
    checkpoint = checkpoint_files.read(saved(wrap(tensors), _use_new_zipfile_serialization=zipped))
    assert (checkpoint.key, checkpoint.beside) == (key, beside)
    assert holds(checkpoint, tensors)


def test_a_file_is_what_its_content_is(saved):
    path = saved(TENSORS, "checkpoint.bin")
    assert holds(checkpoint_files.read(path), TENSORS)
    save_file({name: tensor.contiguous() for name, tensor in TENSORS.items()}, path)
    checkpoint = checkpoint_files.read(path)
    assert checkpoint.key is None
    assert holds(checkpoint, {name: TENSORS[name].contiguous() for name in checkpoint.tensors})


@pytest.mark.parametrize("key", [None, "state_dict_G"])
def test_what_is_written_is_what_was_read(key, tmp_path):
    checkpoint = Checkpoint({name: array(tensor) for name, tensor in TENSORS.items()}, key)
    path = tmp_path / "checkpoint"
    path.write_bytes(checkpoint_files.encode(checkpoint, ".pth"))
    content = torch.load(path, weights_only=True)
    for name, tensor in (content if key is None else content[key]).items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
    assert checkpoint_files.read(path).key == key
    assert holds(checkpoint_files.read(path), TENSORS)
    path.write_bytes(checkpoint_files.encode(checkpoint, ".safetensors"))
    back = checkpoint_files.read(path)
    assert back.key is None
    assert holds(back, {name: TENSORS[name] for name in back.tensors})


class Wrecker:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class Evaluator(Wrecker):
    def __reduce__(self):
        return eval, (f"open({str(self.marker)!r}, 'w')",)


@pytest.mark.parametrize("wrecker", [Wrecker, Evaluator])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("beside", [True, False])
def test_a_pickle_that_would_run_code_is_refused(wrecker, zipped, beside, saved, tmp_path):
    marker = tmp_path / "marker"
    evil = wrecker(marker)
    content = {"state_dict": TENSORS, "info": evil} if beside else evil
    path = saved(content, _use_new_zipfile_serialization=zipped)
    # It is what it claims to be: plain unpickling runs it.
    torch.load(path, weights_only=False)
    assert marker.exists()
    marker.unlink()
    assert "refused, and nothing in it was run: it asks for " in complaint(path)
    assert not marker.exists()


def test_a_bare_pickle_that_would_run_code_is_refused(tmp_path):
    path, marker = tmp_path / "file", tmp_path / "marker"
    path.write_bytes(f"cposix\nsystem\n(Vtouch {marker}\ntR.".encode())
    assert "refused, and nothing in it was run: it asks for posix.system" in complaint(path)
    assert not marker.exists()


def test_a_whole_pickled_network_is_refused(saved):
    message = complaint(saved(torch.nn.Linear(2, 3)))
    assert "it asks for torch.nn.modules.linear.Linear; only tensors and plain values" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"epoch": 3, "info": {}}, "nor tensors at its top; its entries: epoch, info"),
        ({}, "its entries: none"),
        ([1, 2], "holds a list, not a dict of tensors"),
        ({"a": torch.eye(3).to_sparse()}, "tensor 'a' is not a plain one"),
        ({"first": TENSORS, "second": TENSORS}, "its entries: first, second"),
    ],
)
def test_files_without_plain_tensors(content, expected, saved):
    assert expected in complaint(saved(content))


def test_damaged_files(saved, tmp_path):
    new = saved(TENSORS).read_bytes()
    old = saved(TENSORS, _use_new_zipfile_serialization=False).read_bytes()
    plain = checkpoint_files.encode(Checkpoint({"a": np.ones(99)}), ".safetensors")
    path = tmp_path / "damaged"
    for content in (b"", b"PK", new[:300], new[:-99], old[:300], old[:-9], plain[:50], plain[:-9]):
        path.write_bytes(content)
        assert "checkpoint, or a damaged one" in complaint(path)
    path.write_text("a web page that says no")
    assert "checkpoint, or a damaged one" in complaint(path)


def test_files_that_are_not_there(tmp_path):
    assert "no such file" in complaint(tmp_path / "none.pth")
    assert "is a folder" in complaint(tmp_path)

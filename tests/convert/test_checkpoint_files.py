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
    path.write_bytes(checkpoint_files.to_bytes(checkpoint, ".pth"))
    content = torch.load(path, weights_only=True)
    for name, tensor in (content if key is None else content[key]).items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
    assert checkpoint_files.read(path).key == key
    assert holds(checkpoint_files.read(path), TENSORS)
    path.write_bytes(checkpoint_files.to_bytes(checkpoint, ".safetensors"))
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
    plain = checkpoint_files.to_bytes(Checkpoint({"a": np.ones(99)}), ".safetensors")
    path = tmp_path / "damaged"
    for content in (b"", b"PK", new[:300], new[:-99], old[:300], old[:-9], plain[:50], plain[:-9]):
        path.write_bytes(content)
        assert "checkpoint, or a damaged one" in complaint(path)
    path.write_text("a web page that says no")
    assert "checkpoint, or a damaged one" in complaint(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer, not"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page, not the file itself"),
        (b"\xef\xbb\xbf\r\n <HTML>", "a web page, not the file itself"),
        (b'{"error": "Repository not found"}', "a text"),
        (b"", "an empty file"),
        (b"\x1f\x8b\x08" + bytes(60), "a gzip archive: unpack it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file"),
        (b"\x08\x09\x12\x07pytorch" + bytes(60), "an ONNX graph"),
        (b"sys_info".ljust(257, b"\0") + b"ustar" + bytes(250), "the tar format of PyTorch 0.1"),
        (b"a/b".ljust(257, b"\0") + b"ustar" + bytes(250), "a tar archive: unpack it"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_other_kinds_are_named_as_such(content, kind, suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    assert f"{path}: {kind}" in complaint(path).replace("a checkpoint in ", "")


# PyTorch is about to leave TorchScript, but people have its files.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_zip_archives_of_other_things(tmp_path):
    scripted = tmp_path / "scripted.pt"
    torch.jit.script(torch.nn.Linear(2, 3)).save(scripted)
    assert "a TorchScript archive: save the state dict alone" in complaint(scripted)
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.ones(3))
    assert "a zip archive of something else: 'a.npy' is in it" in complaint(path)


def test_nested_entries(saved):
    inner = {"sr": {"a": torch.ones(2)}, "ocr": {"a": torch.zeros(2)}, "step": 4}
    path = saved({"models": inner, "epoch": 3})
    message = "tensors are in several of its entries: models.sr, models.ocr; choose one, "
    assert message + "--entry=models.sr" in complaint(path)
    checkpoint = checkpoint_files.read(path, "models.ocr")
    assert checkpoint.tensors["a"].tolist() == [0, 0]
    assert checkpoint.key == "models.ocr"
    assert checkpoint.beside == ("epoch", "models.sr", "models.step")


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_share_numbers(zipped, saved):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "whole": whole,
        "row": whole[1],
        "column": whole[:, 2],
        "tied": whole,
        "turned": whole.T,
        "spread": torch.ones(1).expand(3, 2),
        "parameter": torch.nn.Parameter(whole),
        "complex": torch.ones(2, dtype=torch.complex64),
        "words": torch.tensor([1, 2], dtype=torch.uint16),
        "bits": torch.tensor([True, False]),
    }
    path = saved(tensors, _use_new_zipfile_serialization=zipped)
    assert holds(checkpoint_files.read(path), tensors)


def test_protocols_of_pickles(saved):
    for protocol in (2, 3, 4, 5):
        path = saved({"state_dict": TENSORS, **TEXTZOOM}, pickle_protocol=protocol)
        assert holds(checkpoint_files.read(path), TENSORS)


def test_a_flipped_byte_of_a_zip_is_seen(saved):
    path = saved(TENSORS)
    content = bytearray(path.read_bytes())
    content[content.index(TENSORS["conv.weight"].numpy().tobytes()) + 5] ^= 4
    path.write_bytes(content)
    assert "Bad CRC-32" in complaint(path)


def test_files_that_are_not_there(tmp_path):
    assert "no such file" in complaint(tmp_path / "none.pth")
    assert "is a folder" in complaint(tmp_path)

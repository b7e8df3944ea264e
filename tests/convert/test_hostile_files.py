"""Hostile and damaged checkpoint files: one line each, in little time and memory, no crash."""

import io
import json
import pathlib
import subprocess
import sys
import tempfile

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from tests.convert import hostile_files
from textsr_jax.convert import checkpoint_files
from textsr_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def complaint(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        checkpoint_files.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable() and len(message) < 1500
    return message


WRAPPINGS = {"zip": hostile_files.zipped, "stream": hostile_files.streamed}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("kind", hostile_files.REFUSED)
def test_what_a_file_may_not_ask_for(kind, wrap, tmp_path):
    evil = hostile_files.text("evil") + hostile_files.REFUSED[kind]
    content = wrap(hostile_files.pickle(hostile_files.dict_of(hostile_files.GOOD, evil)))
    message = complaint(tmp_path / "evil.pth", content)
    assert "refused, and nothing in it was run: it asks for " in message


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("kind", hostile_files.DAMAGED)
def test_what_no_sound_file_says(kind, wrap, tmp_path):
    bad = hostile_files.text("bad") + hostile_files.DAMAGED[kind]
    content = wrap(hostile_files.pickle(hostile_files.dict_of(bad)))
    assert "checkpoint, or a damaged one (" in complaint(tmp_path / "bad.pth", content)


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_the_assembler_of_these_tests_writes_sound_files(wrap, tmp_path):
    path = tmp_path / "good.pth"
    path.write_bytes(wrap(hostile_files.pickle(hostile_files.dict_of(hostile_files.GOOD))))
    assert checkpoint_files.read(path).tensors["good"].tolist() == [0, 0]
    if wrap is hostile_files.zipped:
        assert torch.load(path, weights_only=True)["good"].tolist() == [0, 0]


@hypothesis.given(st.binary(max_size=400), st.sampled_from(["zip", "stream", "start", "file"]))
def test_any_bytes(tmp_path_factory, content, place):
    path = tmp_path_factory.mktemp("any") / "any.pth"
    wrap = {
        "zip": hostile_files.zipped,
        "stream": hostile_files.streamed,
        "start": lambda content: hostile_files.streamed(content)[:60] + content,
        "file": lambda content: content,
    }[place]
    complaint(path, wrap(content))


def sound_files():
    """Small checkpoints of all formats, with what published ones hold besides."""
    import numpy as np
    from safetensors.torch import save

    tensors = {f"layer{i}.weight": torch.randn(3, 5) for i in range(4)}
    tensors |= {
        "half": torch.ones(7).half(),
        "turned": torch.ones(2, 3).T.contiguous(),
        "n": torch.tensor(7),
    }
    adam = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    history = {"best": np.float64(0.5), "scores": np.arange(6.0), "seen": {1, 2}}
    contents = []
    for zipped in (True, False):
        for content in (tensors, {"state_dict": tensors, "optimizer": adam, "info": history}):
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=zipped)
            contents.append(stream.getvalue())
    return [*contents, save(tensors)]


def all_files(harmed):
    """The name and content of every file of the fuzz."""
    kinds = hostile_files.REFUSED | hostile_files.DAMAGED | hostile_files.heavy()
    for wrapping, wrap in WRAPPINGS.items():
        for kind, pickled in kinds.items():
            item = hostile_files.dict_of(hostile_files.GOOD, hostile_files.text("beside"), pickled)
            yield f"{kind}, {wrapping}", wrap(hostile_files.pickle(pickled))
            yield f"{kind}, beside, {wrapping}", wrap(hostile_files.pickle(item))
    yield from hostile_files.containers().items()
    for number, content in enumerate(hostile_files.harmed(sound_files(), harmed)):
        yield f"harmed {number}", content


def fuzz(folder, harmed):
    """Has all files read; returns names, outcomes, processor seconds and peaks of memory."""
    names = {}
    for number, (kind, content) in enumerate(all_files(harmed)):
        path = folder / f"{number:05d}{' harmed' * kind.startswith('harmed')}.pth"
        path.write_bytes(content)
        names[path.name] = kind
    command = [sys.executable, "-m", "tests.convert.hostile_files", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(names)
    return [(names[file], *row) for file, *row in rows]


@pytest.mark.slow
def test_hundreds_of_files(tmp_path):
    # `python -m tests.convert.test_hostile_files` reads 2,136.
    check(fuzz(tmp_path, 300))


def check(rows):
    assert len(rows) > 600
    for kind, outcome, seconds, peak in rows:
        assert outcome == "taken" or outcome.isprintable(), kind
        assert seconds < 5, kind
        # In kilobytes; the process itself takes 200,000 of them.
        assert peak < 1_000_000, kind


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        read = fuzz(pathlib.Path(place), 1800)
    check(read)
    slowest, largest = max(row[2] for row in read), max(row[3] for row in read)
    print(f"{len(read)} files, slowest {slowest:.2f} s of a core, peak {largest / 1000:.0f} MB")

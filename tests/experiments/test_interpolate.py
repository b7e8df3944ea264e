"""Blends of two models: values, what can be named, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import forked
from tests.conftest import same
from textsr_jax.errors import UserError
from textsr_jax.experiments import interpolate
from textsr_jax.quantization import dequantize
from textsr_jax.storage import packed_files, parameter_files
from textsr_jax.storage.shipped import PRINTABLE, SHIPPED


@pytest.fixture
def second(tmp_path):
    """A packed file whose SR model is another one, unquantised."""
    models = packed_files.load(SHIPPED)
    rng = np.random.default_rng(0)
    sr = jax.tree.map(
        lambda leaf: np.asarray(leaf + rng.normal(size=leaf.shape), np.float32),
        dequantize(models.sr),
    )
    path = tmp_path / "second.safetensors"
    packed_files.save(path, dataclasses.replace(models, sr=sr))
    return path, sr


def test_parameters_lie_between_those_of_both(second):
    path, other = second
    own = jax.tree.map(np.asarray, dequantize(packed_files.load(SHIPPED).sr))
    blends = {share: interpolate.blend(str(SHIPPED), str(path), "sr", share) for share in (0, 1)}
    assert same(blends[0].variables, own) and same(blends[1].variables, other)
    found = interpolate.blend(str(SHIPPED), str(path), "sr", 0.25)
    assert (found.model, found.part, found.settings["edsr"]["blocks"]) == ("edsr", "sr", 4)
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, 0.75 * b + 0.25 * c, atol=1e-6),
        found.variables,
        own,
        other,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(found.variables)} == {np.dtype(np.float32)}


def test_recognisers_blend_with_their_statistics():
    own = jax.tree.map(np.asarray, dequantize(packed_files.load(SHIPPED).ocr))
    assert same(interpolate.blend(str(SHIPPED), str(SHIPPED), "ocr", 0.5).variables, own)
    # The printable one writes more characters.
    with pytest.raises(UserError, match=r"^--second=.*printable\.safetensors: "):
        interpolate.blend(str(SHIPPED), str(PRINTABLE), "ocr", 0.5)


def test_what_is_no_model_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(UserError, match=str(place)):
            interpolate.blend(str(SHIPPED), str(place), "sr", 0.5)
        with pytest.raises(UserError, match=str(place)):
            interpolate.blend(str(place), str(SHIPPED), "sr", 0.5)


@pytest.mark.slow
def test_the_command_writes_what_a_config_may_start_from(trained, tmp_path):
    out = tmp_path / "sr.params"
    command = ["-m", "textsr_jax.experiments.interpolate", f"--first={trained}", f"--out={out}"]
    run = forked.run(command)
    assert run.returncode == 2 and "--second is missing" in run.stderr
    assert "Traceback" not in run.stderr
    run = forked.run([*command, f"--second={trained}", "--share=0.3"])
    assert run.returncode == 0 and f"--config.init.sr={out}" in run.stdout
    assert parameter_files.load(out).part == "sr"

"""The confusion matrix of `stage1.confusion`: read from a file, and what training makes of it."""

import jax
import numpy as np
import pytest

from tests.conftest import micro_config
from textsr_jax import losses, text
from textsr_jax.data.batching import Batch
from textsr_jax.errors import UserError
from textsr_jax.images import to_float
from textsr_jax.models import build_focus, build_sr
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.train import confusions, runner


@pytest.fixture
def counts():
    return np.random.default_rng(0).integers(0, 9, (62, 62))


def test_the_weights_are_those_of_the_files_counts(counts, tmp_path):
    np.save(tmp_path / "counts.npy", counts)
    weights = confusions.load_weights(str(tmp_path / "counts.npy"))
    np.testing.assert_array_equal(weights, losses.weight_table(counts))


def test_what_is_no_matrix_of_counts_is_named(counts, tmp_path):
    path = tmp_path / "counts.npy"

    def refused(message):
        with pytest.raises(UserError, match=message) as caught:
            confusions.load_weights(str(path))
        assert f"config.stage1.confusion={path}: " in str(caught.value)

    refused("No such file")
    path.write_bytes(b"80\x02]q\x00.")
    refused("not a NumPy file")
    # Nothing is unpickled.
    np.save(path, np.array([print], object), allow_pickle=True)
    refused("not a NumPy file")
    np.save(path, np.full((62, 62), "a"))
    refused("not a NumPy file")
    np.save(path, counts[:37])
    refused(r"\(37, 62\), not \(62, 62\)")
    np.save(path, -counts)
    refused("negative")
    path.unlink()
    path.mkdir()
    refused("directory")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "joint"])
def test_a_stages_loss_weighs_confusions_by_the_file(stage, counts, data_root, tmp_path):
    np.save(tmp_path / "counts.npy", counts)
    config = micro_config(data_root, tmp_path / "data")
    config.stages = stage
    config.sr.apply_stn, config.ocr.name = "never", "crnn"
    config.stage1.confusion = str(tmp_path / "counts.npy")
    config.stage1.augment = config.joint.augment = False
    ((outline,), _) = runner.outlines(config)
    variables = outline.network.init(jax.random.key(0))
    focus = build_focus(config.focus)
    frozen = focus.init(jax.random.key(1))
    hr = np.random.default_rng(1).integers(0, 256, (2, 32, 128, 3), np.uint8)
    batch = Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.ALPHANUMERIC.encode(["open", "2nd"], config.max_length),
        index=np.arange(2, dtype=np.int32),
        valid=np.ones(2, bool),
    )
    _, (parts, _) = jax.jit(outline.loss)(variables, frozen, batch, jax.random.key(2))
    config.stage1.confusion = ""
    ((plain,), _) = runner.outlines(config)
    _, (plain_parts, _) = jax.jit(plain.loss)(variables, frozen, batch, jax.random.key(2))
    sr = build_sr(config.sr)
    own = variables
    if stage == "joint":
        own = {kind: tree.get("sr", {}) for kind, tree in variables.items()}
    images, _ = jax.jit(sr.train)(own, to_float(batch.lr))
    inputs, targets, mask = text.focus_tokens(batch.characters)
    logits, _ = jax.jit(focus)(frozen, to_gray(images), inputs)
    for found, weights in ((parts, losses.weight_table(counts)), (plain_parts, None)):
        expected = losses.weighted_cross_entropy(logits, targets, mask, weights)
        assert float(found["recognition"]) == pytest.approx(float(expected), rel=1e-4)
    assert abs(float(parts["recognition"] - plain_parts["recognition"])) > 1e-3

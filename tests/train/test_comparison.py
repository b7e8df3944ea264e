"""How SR images are compared with HR images where other recognisers read them too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import micro_config, same
from tests.models import ctc_file
from textsr_jax import losses, text
from textsr_jax.config.checks import checked
from textsr_jax.data.batching import Batch
from textsr_jax.errors import UserError
from textsr_jax.models import ExternalRecognizer
from textsr_jax.storage import checkpoints
from textsr_jax.train import runner
from textsr_jax.train.comparison import EXTERNAL, comparison
from textsr_jax.train.stages import stage1
from textsr_jax.train.training import open_training

RNG = np.random.default_rng(0)
WORDS = ["ab7", "Ba", "7b7b", "a"]


@pytest.fixture
def files(tmp_path):
    """Two recognisers, the second with its characters in a file of their own."""
    ctc_file.write(tmp_path / "a.onnx")
    ctc_file.write(tmp_path / "b.onnx", characters=None, seed=1)
    (tmp_path / "b.txt").write_text("\n".join(ctc_file.CHARACTERS), encoding="utf-8")
    return f"{tmp_path}/a.onnx,{tmp_path}/b.onnx:{tmp_path}/b.txt"


def settings(files="", **stage1):
    config = micro_config("", "")
    config.init.external = files
    config.stage1.update(stage1)
    return config


def recognizers(files):
    first, second = files.split(",")
    pairs = (first, None), second.split(":")
    return [ExternalRecognizer(*pair, text.ALPHANUMERIC) for pair in pairs]


def batch(words=WORDS):
    hr = np.random.default_rng(1).integers(0, 256, (len(words), 32, 128, 3), np.uint8)
    return Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.ALPHANUMERIC.encode(words, 6),
        index=np.arange(len(words), dtype=np.int32),
        valid=np.ones(len(words), bool),
    )


def test_the_mean_of_their_ctc_losses_is_added_by_its_weight(files):
    config = checked(settings(files, external=0.25, position=0.0, recognition=0.0)).stage1
    external = recognizers(files)
    frozen = {EXTERNAL: {str(n): each.variables for n, each in enumerate(external)}}
    words = batch()
    images = jnp.asarray(RNG.uniform(-0.2, 1.2, (4, 32, 128, 3)).astype(np.float32))
    alone, _ = comparison(None, config, None)({}, images, words)
    compare = comparison(None, config, None, external)
    value, parts = compare(frozen, images, words)
    # What is beyond black and white is not shown.
    lost = [
        losses.ctc_loss(each(each.variables, jnp.clip(images, 0, 1)), words.characters)
        for each in external
    ]
    assert lost[0] != lost[1]
    np.testing.assert_allclose(parts["external"], (lost[0] + lost[1]) / 2, rtol=1e-5)
    np.testing.assert_allclose(value, alone + 0.25 * parts["external"], rtol=1e-6)
    # Yet the gradient brings it back.
    gradient = jax.grad(lambda images: compare(frozen, images, words)[1]["external"])(images)
    assert float(jnp.abs(gradient[images > 1]).max()) > 0


def test_parts_of_a_batch_have_the_mean_of_the_whole(files):
    config = checked(settings(files, external=1.0, position=0.0, recognition=0.0)).stage1
    external = recognizers(files)
    frozen = {EXTERNAL: {str(n): each.variables for n, each in enumerate(external)}}
    # The third word needs more frames than there are: it is in no mean.
    words = batch(["ab7", "ba", "7b7b", "a"])
    images = jnp.asarray(RNG.random((4, 32, 128, 3), np.float32))
    compare = comparison(None, config, None, external)
    whole, _ = compare(frozen, images, words)
    halves = [
        compare(
            frozen,
            images[part],
            jax.tree.map(lambda leaf, part=part: leaf[part], words).replace(whole=words.characters),
        )[0]
        for part in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(sum(halves) / 2, whole, rtol=1e-5)


def test_a_weight_needs_recognisers_and_they_are_read_before_anything_runs(
    files, tmp_path, monkeypatch
):
    with pytest.raises(UserError, match=r"^config\.stage1\.external=0\.5 needs recognisers; name"):
        open_training(checked(settings(external=0.5)), tmp_path)
    missing = settings(str(tmp_path / "no.onnx"), external=0.5)
    with pytest.raises(UserError, match=r"no\.onnx: cannot be read"):
        open_training(checked(missing), tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    at_home = settings("~/a.onnx,~/b.onnx:~/b.txt", external=0.5)
    assert len(open_training(checked(at_home), tmp_path).external) == 2
    # Without a weight no file is opened.
    missing.stage1.external = 0.0
    assert not open_training(checked(missing), tmp_path).external


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "joint"])
def test_a_stage_learns_to_be_read_and_goes_on_alike(stage, files, data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.init.external = stage, files
    config.sr.apply_stn, config.ocr.name = "never", "crnn"
    config.stage1.update(external=0.5, position=0.0, recognition=0.0)
    training = open_training(checked(config), tmp_path)
    outline = stage1.SPEC.outline(training, stage1.SPEC)
    wanted = {str(n): each.variables for n, each in enumerate(recognizers(files))}
    assert same(outline.frozen[EXTERNAL], wanted)
    if stage == "joint":
        config.stages = "pretrain,joint"
    made = []
    for name, external in (("w", 0.5), ("again", 0.5), ("without", 0.0)):
        config.stage1.external = external
        runner.train(config, tmp_path / name, "again")
        template = checkpoints.abstract(runner.outlines(config)[0][-1].network.template)
        made.append(checkpoints.load_best(tmp_path / name, stage, template)[0])
    assert same(made[0], made[1])
    assert not same(made[0]["params"], made[2]["params"])


@pytest.mark.parametrize("name", ["edsr", "tpgsr", "tatt", "lemma"])
def test_every_sr_networks_loss_has_them(name, files, tmp_path):
    config = settings(files, external=0.5, position=0.0, recognition=0.0, prior=0.0, reading=0.0)
    config.sr.name, config.sr.apply_stn = name, "never"
    training = open_training(checked(config), tmp_path)
    network, loss = stage1.SPEC.learns(training)
    frozen = stage1.external_variables(training)
    _, (parts, _) = jax.eval_shape(loss, network.template, frozen, batch(), jax.random.key(0))
    assert "external" in parts

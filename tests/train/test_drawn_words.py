"""Words drawn in the step: which they are, what a batch is made of, and what is prepared for it."""

import json
import shutil

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.paper import get_config
from tests.conftest import micro_config, same
from tests.train import test_loop
from tests.train.last_states import last_state
from tests.train.test_loop import NETWORK, PLACEMENT, SETTINGS, Judge, distance
from textsr_jax import data
from textsr_jax.config.checks import checked
from textsr_jax.data import drawing
from textsr_jax.data.batching import NO_IMAGES, Batch
from textsr_jax.errors import UserError
from textsr_jax.models import build_ocr
from textsr_jax.train import checks, drawn_words, loop, names, plan, runner
from textsr_jax.train import state as states
from textsr_jax.train.drawn_words import DrawingData, UnfilledBatch, UnfilledBatches
from textsr_jax.train.steps import DeviceData
from textsr_jax.train.training import open_training
from textsr_jax.train.words import TrainingWords

DEVICES = jax.device_count()


class Colours(flax.struct.PyTreeNode):
    """Stands for `DrawSettings`: words are colours, so that a loop compiles quickly."""

    count: int = flax.struct.field(pytree_node=False)


def draw_colours(key, settings):
    colours = jax.random.uniform(key, (settings.count, 3))
    return Batch(
        lr=colours,
        hr=1 - colours,
        characters=jnp.ones((settings.count, 1), jnp.int32),
        index=jnp.arange(settings.count, dtype=jnp.int32),
        valid=jnp.ones(settings.count, bool),
    )


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setattr(drawing, "draw", draw_colours)


def loss(variables, frozen, batch, key):
    value = jnp.square(NETWORK(variables, batch.lr) - batch.lr.sum(-1, keepdims=True)).mean()
    return value, ({"loss": value}, variables["stats"])


def run(workdir, read, loss=loss, count=DEVICES, **changes):
    settings = SETTINGS.copy_and_resolve_references()
    settings.update(changes)
    stage = loop.Stage(
        name="toy",
        initial=NETWORK.init,
        loss=loss,
        frozen=DrawingData({}, Colours(count)),
        settings=settings,
        batches=UnfilledBatches(read, count),
        key_of=str,
        judge=Judge(lambda variables: -distance(variables)),
        around=lambda step: drawn_words.with_drawn_words(step, PLACEMENT.batch_sharding),
    )
    loop.run(stage, workdir, PLACEMENT, jax.random.key(0), "again")


@pytest.mark.slow
@pytest.mark.parametrize("reads", [False, True], ids=["all drawn", "a part drawn"])
def test_a_run_that_goes_on_draws_the_same_words(tmp_path, colours, reads):
    def batches():
        return test_loop.Batches() if reads else None

    run(tmp_path / "plain", batches())
    run(tmp_path / "stopped", batches())
    shutil.rmtree(tmp_path / "stopped" / "toy" / "checkpoints" / "9")
    run(tmp_path / "stopped", batches())
    test_loop.assert_same_end(tmp_path / "plain", tmp_path / "stopped")


def filled(number, *, key=0, step=0, read=None, held=None):
    """What a step is given for an unfilled batch."""
    state = states.create(
        NETWORK.init(jax.random.key(0)), states.make_optimizer(SETTINGS), jax.random.key(key)
    ).replace(step=jnp.int32(step))
    step_function = drawn_words.with_drawn_words(
        lambda state, held, batch: (state, batch), PLACEMENT.batch_sharding
    )
    unfilled = UnfilledBatch(read, np.full(DEVICES, number, np.int32))
    return step_function(state, DrawingData(held or {}, Colours(DEVICES)), unfilled)[1]


def test_a_batchs_number_and_the_stages_key_decide_its_words(colours):
    first = filled(1)
    assert same(filled(1), first) and same(filled(1, step=5), first)
    others = [filled(2), filled(3), filled(1, key=1)]
    for one, other in zip([first, *others], [*others, first], strict=True):
        assert not (np.asarray(one.lr) == np.asarray(other.lr)).any()


@pytest.mark.parametrize("with_lr", [False, True])
def test_words_that_are_read_come_first_and_may_lie_on_the_devices(colours, with_lr):
    index = np.arange(DEVICES, dtype=np.int32)[::-1].copy()
    read = Batch(NO_IMAGES, NO_IMAGES, np.full((DEVICES, 1), 7, np.int32), index, index >= 0)
    images = np.arange(3 * DEVICES, dtype=np.float32).reshape(DEVICES, 3)
    held = DeviceData({}, images + 100 if with_lr else None, images)
    batch, drawn = filled(4, read=read, held=held), filled(4)
    assert np.array_equal(batch.hr, np.concatenate([images[::-1], drawn.hr]))
    assert np.array_equal(batch.characters[:, 0], [7] * DEVICES + [1] * DEVICES)
    if with_lr:
        assert np.array_equal(batch.lr, np.concatenate([images[::-1] + 100, drawn.lr]))
    else:
        assert batch.lr is None


def test_words_whose_loss_is_not_finite_are_not_drawn_again(tmp_path, colours):
    bound = 0.5

    def poisoned(variables, frozen, batch, key):
        value, rest = loss(variables, frozen, batch, key)
        return jnp.where(batch.lr[0, 0] > bound, jnp.nan, value), rest

    run(tmp_path, None, poisoned, skip_at_most=100)
    key = jax.random.fold_in(jax.random.key(0), 2**32 - 1)
    numbers, bad = range(1, 100), []
    for number in numbers:
        words = draw_colours(jax.random.fold_in(key, number), Colours(DEVICES))
        if words.lr[0, 0] > bound:
            bad.append(number)
        if number - len(bad) == SETTINGS.steps:
            break
    assert bad
    skipped = json.loads((tmp_path / "toy" / "skipped.json").read_text())
    assert [entry["batch"] for entry in skipped] == bad
    assert all(entry["records"] == [] for entry in skipped)


def test_shares_that_cannot_be_are_refused(monkeypatch):
    config = get_config()
    config.pretrain.ocr.batch_size = 16
    for share, message in (
        (0.25, ""),
        (1.0, ""),
        (0.3, r"config.pretrain.ocr.drawn=0.3: 5 of 16 words .* 4 devices .* take 0.25"),
        (0.01, r"drawn=0.01: 0 of 16 words .* take 0.25"),
    ):
        config.pretrain.ocr.drawn = share
        monkeypatch.setattr(jax, "device_count", lambda: 4)
        if not message:
            checks.check_devices(checked(config), "pretrain.ocr")
            continue
        with pytest.raises(UserError, match=message):
            checks.check_devices(checked(config), "pretrain.ocr")
    config.max_length, config.data.synthetic.min_length = 4, 5
    with pytest.raises(UserError, match=r"min_length=5: .* config.max_length=4 characters hold 4"):
        checks.check_drawing(checked(config))
    config.alphabet, config.max_length = "printable", 6
    with pytest.raises(UserError, match=r"config.max_length=6 characters hold 4 letters"):
        checks.check_drawing(checked(config))
    config.data.synthetic.words = "text"
    with pytest.raises(UserError, match=r"words=text: no spaces are drawn in a step; take one"):
        checks.check_drawing(checked(config))


def test_only_the_stages_that_can_draw_words_have_the_field():
    config = get_config()
    config.unlock()
    config.stage2.drawn = 0.5
    with pytest.raises(UserError, match=r"config\.stage2 has 'drawn', which is no field"):
        checked(config)
    drawing_stages = {
        spec.name for spec in plan.STAGES if "drawn" in spec.settings_of(checked(get_config()))
    }
    assert drawing_stages == {"pretrain_ocr", "pretrain_focus", "stage1", "joint"}


@pytest.mark.slow
def test_where_all_words_are_drawn_none_are_prepared_to_learn_from(tmp_path, monkeypatch):
    config = micro_config("", tmp_path)
    asked = []

    def load(settings):
        asked.append(settings.synthetic.train)
        return data.count(settings)

    TrainingWords(checked(config), load).data_set  # noqa: B018
    TrainingWords(checked(config), load, reads=False).data_set  # noqa: B018
    assert asked == [24, 1]
    # All stages that run draw all of their words; stage 1 would read some.
    config.stages = "pretrain"
    config.pretrain.ocr.drawn = config.pretrain.focus.drawn = 1.0
    config.pretrain.focus.batch_size = 16
    ocr, focus = runner.outlines(config)[0]
    assert (ocr.records, ocr.drawn, focus.records, focus.drawn) == (0, 8, 0, 16)
    training = open_training(checked(config), tmp_path, load_words=load)
    learned = plan.STAGES[1].training_set(training)
    assert learned.sources == {} and len(learned.everything) == 0
    assert learned.fingerprints == {names.DRAWN: drawing.fingerprint()}
    config.pretrain.ocr.drawn = 0.5
    ocr, _ = runner.outlines(config)[0]
    assert (ocr.records, ocr.drawn) == (24, 4)
    training = open_training(checked(config), tmp_path, load_words=load)
    assert plan.STAGES[1].training_set(training).fingerprints.keys() == {names.WORDS, names.DRAWN}


@pytest.mark.slow
def test_a_recogniser_learns_from_drawn_words_alone_and_goes_on_bit_for_bit(tmp_path):
    config = micro_config("", tmp_path / "data")
    config.stages, config.sr.name, config.sr.apply_stn = "pretrain", "bicubic", "never"
    config.pretrain.ocr.drawn = 1.0
    config.init.focus = "elsewhere"  # the recogniser alone is pre-trained
    # A smaller recogniser compiles sooner; what draws stays whole.
    config.ocr.name = "crnn"
    plain, stopped = tmp_path / "plain", tmp_path / "stopped"
    runner.train(config, plain, "again")
    (info,) = (tmp_path / "data").rglob("dataset_info.json")
    counts = {
        split["name"]: sum(map(int, split["shardLengths"]))
        for split in json.loads(info.read_text())["splits"]
    }
    assert counts["train"] == 1 and counts["validation"] == 3
    shutil.copytree(plain, stopped)
    shutil.rmtree(stopped / "pretrain_ocr" / "checkpoints" / "6")
    runner.train(config, stopped, "again")
    states_there = [
        last_state(workdir, "pretrain_ocr", build_ocr(config.ocr), config.pretrain.ocr)
        for workdir in (plain, stopped)
    ]
    (step, state, record), (_, again, record_again) = states_there
    assert step == 6 and same(state, again)
    assert record["data"] == record_again["data"] == {"number": 6, "read": None}
    assert set(record["trained_on"]) == {names.DRAWN}

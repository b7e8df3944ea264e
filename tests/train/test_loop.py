"""The loop on a toy stage: batches whose loss is not finite, crashes, and what is resumed from."""

import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.profiler import ProfileData

from configs.paper import get_config, optimization
from tests.conftest import same
from tests.train.test_logs import events
from textsr_jax.data.batching import Batch
from textsr_jax.errors import Stopped, UserError
from textsr_jax.models import Network
from textsr_jax.runtime import traces
from textsr_jax.storage import checkpoints
from textsr_jax.storage.checkpoints import Checkpoints, SavedCheckpoints
from textsr_jax.train import loop
from textsr_jax.train import state as states
from textsr_jax.train.best import BestModels
from textsr_jax.train.mesh import make_placement
from textsr_jax.train.validation import Validation

PLACEMENT = make_placement(get_config().parallel)
SETTINGS = optimization(steps=9, batch_size=2 * jax.device_count(), learning_rate=0.1)
SETTINGS.checkpoint_every, SETTINGS.validate_every, SETTINGS.average = 3, 4, 0.5
NETWORK = Network(lambda rngs: nnx.Linear(3, 1, rngs=rngs))


class Crash(Exception):
    pass


class Batches:
    """An endless iterator; batch n, from 1, is drawn by that seed and holds the records n and -n.

    Args:
      without: numbers that are left out.
      crash: raises before this one, once.
    """

    def __init__(self, without=(), crash=None):
        self._number, self._without, self._crash = 0, without, crash

    def get_state(self):
        return {"number": self._number}

    def set_state(self, state):
        self._number = state["number"]

    def __next__(self):
        self._number += 1
        if self._number == self._crash:
            self._crash = None
            raise Crash
        if self._number in self._without:
            return next(self)
        number, n = self._number, 2 * jax.device_count()
        colours = np.random.default_rng(number).random((n, 3), np.float32)
        return Batch(
            lr=colours,
            hr=colours,
            characters=np.zeros((n, 1), np.int32),
            index=np.resize(np.array([number, -number], np.int32), n),
            valid=np.ones(n, bool),
        )


def poisoned(*numbers, where="loss"):
    """A stage's loss, whose value or whose gradient alone is not finite at some batches."""

    def loss(variables, frozen, batch, key):
        value = jnp.square(NETWORK(variables, batch.lr) - batch.lr.sum(-1, keepdims=True)).mean()
        bad = jnp.isin(batch.index[0], jnp.asarray(numbers, jnp.int32))
        if where == "loss":
            value = jnp.where(bad, jnp.nan, value)
        else:
            # The root has no gradient at 0; `cond` takes that of one branch alone.
            kernel = variables["params"]["kernel"]
            value += jax.lax.cond(
                bad, lambda k: jnp.sqrt(jnp.square(k - k).sum()), lambda k: 0.0, kernel
            )
        return value, ({"loss": value}, variables["stats"])

    return loss


def distance(variables):
    return float(jnp.abs(variables["params"]["kernel"] - 1).sum())


class Judge:
    """Judges by a function of the variables."""

    def __init__(self, score):
        self._score = score

    def run(self, variables):
        return Validation(self._score(variables), {"score": 0.0})


def run(
    workdir,
    batches,
    loss,
    score=lambda variables: -distance(variables),
    profile=None,
    **changes,
):
    settings = SETTINGS.copy_and_resolve_references()
    settings.update(changes)
    stage = loop.Stage(
        name="toy",
        initial=NETWORK.init,
        loss=loss,
        frozen={},
        settings=settings,
        batches=batches,
        key_of=lambda number: f"record {number}",
        judge=Judge(score),
    )
    loop.run(stage, workdir, PLACEMENT, jax.random.key(0), "again", None, profile)


def last(workdir):
    """The last state and record, without the number of the batch, and the best model."""
    saved = Checkpoints(workdir / "toy" / "checkpoints")
    optimizer = states.make_optimizer(SETTINGS)
    template = jax.eval_shape(
        lambda: states.create(
            NETWORK.init(jax.random.key(0)), optimizer, jax.random.key(0), averaged=True
        )
    )
    step, state, record = saved.restore(checkpoints.abstract(template))
    saved.close()
    best, _ = checkpoints.load_best(workdir, "toy", checkpoints.abstract(NETWORK.template))
    names = ("best_score", "best_step", "waited", "stopped_early")
    return step, state, {name: record[name] for name in names}, best


def assert_same_end(one, other, end=9):
    (step, state, record, best), (step2, state2, record2, best2) = last(one), last(other)
    assert step == step2 == end
    assert same(state, state2) and same(best, best2)
    assert record == record2


@pytest.mark.slow
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_batch_that_is_not_finite_is_left_out_and_named(tmp_path, capfd, where):
    run(tmp_path / "plain", Batches(without=(5, 8)), poisoned(where=where))
    run(tmp_path / "poisoned", Batches(), poisoned(5, 8, where=where))
    assert_same_end(tmp_path / "plain", tmp_path / "poisoned")
    entries = json.loads((tmp_path / "poisoned" / "toy" / "skipped.json").read_text())
    assert [(entry["step"], entry["batch"]) for entry in entries] == [(5, 5), (7, 8)]
    assert set(entries[0]["records"]) == {"record 5", "record -5"}
    printed = capfd.readouterr().err
    assert "toy: the loss is not finite at step 5; going on from step 3 without that" in printed
    assert not (tmp_path / "plain" / "toy" / "skipped.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("crash", [1, 4, 6, 7, 9])
def test_a_crash_changes_nothing(tmp_path, crash):
    run(tmp_path / "plain", Batches(), poisoned(2, 5))
    with pytest.raises(Crash):
        run(tmp_path / "crashed", Batches(crash=crash), poisoned(2, 5))
    run(tmp_path / "crashed", Batches(), poisoned(2, 5))
    assert_same_end(tmp_path / "plain", tmp_path / "crashed")


def test_too_many_stop_the_run_and_checkpoints_stay(tmp_path):
    with pytest.raises(UserError, match=r"toy: the loss is not finite at step 6; 2 batches are "):
        run(tmp_path, Batches(), poisoned(*range(6, 20)), skip_at_most=2)
    assert Checkpoints(tmp_path / "toy" / "checkpoints").steps() == [3]
    with pytest.raises(UserError, match=r"toy: the loss is not finite at step 1; the checkpoints"):
        run(tmp_path / "none", Batches(), poisoned(1), skip_at_most=0)


PATIENT = {"validate_every": 1, "patience": 3, "steps": 20}


def near(variables):
    """Is best on the way to where the training goes, at a distance of 2."""
    return -abs(distance(variables) - 2)


@pytest.mark.slow
def test_patience_ends_a_stage_that_many_validations_after_its_best(tmp_path, capfd):
    run(tmp_path / "whole", Batches(), poisoned(), near, **PATIENT | {"patience": 0})
    step, _, record, best = last(tmp_path / "whole")
    peak = record["best_step"]
    assert step == 20 and 2 < peak < 15 and not record["stopped_early"]
    assert "ends early" not in capfd.readouterr().err

    run(tmp_path / "w", Batches(), poisoned(), near, **PATIENT)
    step, _, record, early_best = last(tmp_path / "w")
    assert step == peak + 3
    assert record["best_step"] == peak and same(best, early_best)
    assert (record["waited"], record["stopped_early"]) == (3, True)
    line = f"toy: ends early at step {step}: 3 validations without a better score than that of "
    assert capfd.readouterr().err.count(f"{line}step {peak}\n") == 1
    # It counts as finished, and run again it draws no batch.
    assert loop.is_finished(tmp_path / "w", "toy", 20)
    run(tmp_path / "w", Batches(crash=step + 1), poisoned(), near, **PATIENT)
    assert last(tmp_path / "w")[0] == step


@pytest.mark.slow
@pytest.mark.parametrize("crash", [1, 3, 5, 6])
def test_a_crash_while_waiting_changes_nothing(tmp_path, crash):
    """The score falls from the first validation on, so that the stage ends at step 4."""
    run(tmp_path / "plain", Batches(), poisoned(2, 5), distance, **PATIENT)
    with pytest.raises(Crash):
        run(tmp_path / "w", Batches(crash=crash), poisoned(2, 5), distance, **PATIENT)
    assert not loop.is_finished(tmp_path / "w", "toy", 20)
    run(tmp_path / "w", Batches(), poisoned(2, 5), distance, **PATIENT)
    assert_same_end(tmp_path / "plain", tmp_path / "w", end=4)
    assert last(tmp_path / "w")[2]["best_step"] == 1


@pytest.mark.slow
def test_a_damaged_last_checkpoint_is_made_again(tmp_path):
    for name in ("plain", "w"):
        run(tmp_path / name, Batches(), poisoned(), distance, **PATIENT)
    for path in (tmp_path / "w" / "toy" / "checkpoints" / "4").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert not loop.is_finished(tmp_path / "w", "toy", 20)
    run(tmp_path / "w", Batches(), poisoned(), distance, **PATIENT)
    assert_same_end(tmp_path / "plain", tmp_path / "w", end=4)


@pytest.mark.slow
def test_the_second_number_decides_between_equal_first_ones(tmp_path):
    run(tmp_path / "w", Batches(), poisoned(), lambda v: [0.0, near(v)], **PATIENT)
    run(tmp_path / "plain", Batches(), poisoned(), near, **PATIENT)
    lists, numbers = last(tmp_path / "w")[2], last(tmp_path / "plain")[2]
    assert lists["best_score"] == [0.0, numbers["best_score"]]
    assert lists["best_step"] == numbers["best_step"]
    # A higher first number outweighs any second one.
    run(tmp_path / "far", Batches(), poisoned(), lambda v: [-distance(v), distance(v)], **PATIENT)
    assert last(tmp_path / "far")[2]["best_step"] == 20


def test_two_folders_are_never_written_at_once(tmp_path, monkeypatch):
    """Several processes would wait for each other's barriers, which have the step's name alone."""
    writing, saves = set(), []
    save, wait = Checkpoints.save, Checkpoints.wait

    def noted_save(self, step, tree, record):
        assert writing <= {self.directory.name}
        writing.add(self.directory.name)
        saves.append((self.directory.name, step))
        save(self, step, tree, record)

    def noted_wait(self):
        wait(self)
        writing.discard(self.directory.name)

    monkeypatch.setattr(Checkpoints, "save", noted_save)
    monkeypatch.setattr(Checkpoints, "wait", noted_wait)
    run(tmp_path, Batches(), poisoned(), validate_every=3, score=lambda variables: len(saves))
    assert saves == [(name, step) for step in (3, 6, 9) for name in ("best", "checkpoints")]


def assert_best_agrees(workdir):
    """What the last checkpoint names as its best is in `best`, with its score."""
    record = SavedCheckpoints(workdir / "toy" / "checkpoints").last_record()
    _, about = checkpoints.load_best(workdir, "toy", checkpoints.abstract(NETWORK.template))
    assert BestModels(workdir, "toy").steps()[-1] == record["best_step"]
    assert about["score"] == record["best_score"]


OFTEN = {"validate_every": 1, "checkpoint_every": 4}


@pytest.mark.slow
def test_the_best_model_outlives_a_rollback(tmp_path):
    """Each validation is better; two come after the checkpoint of step 4, to which the run goes."""
    run(tmp_path / "plain", Batches(without=(7,)), poisoned(), **OFTEN)
    best, there = SavedCheckpoints(tmp_path / "w" / "toy" / "best"), []

    def score(variables):
        there.append(best.steps()[-1:])
        return -distance(variables)

    run(tmp_path / "w", Batches(), poisoned(7), score, **OFTEN)
    # The seventh validation is that of step 5 again.
    assert there[6] == [4]
    assert_best_agrees(tmp_path / "w")
    assert_same_end(tmp_path / "plain", tmp_path / "w")
    assert len(BestModels(tmp_path / "w", "toy").steps()) <= 3


@pytest.mark.slow
def test_the_best_model_outlives_the_loss_of_the_last_checkpoint(tmp_path):
    run(tmp_path / "plain", Batches(), poisoned(), **OFTEN)
    with pytest.raises(Crash):
        run(tmp_path / "w", Batches(crash=9), poisoned(), **OFTEN)
    shutil.rmtree(tmp_path / "w" / "toy" / "checkpoints" / "8" / "tree" / "d")
    with pytest.raises(Crash):
        run(tmp_path / "w", Batches(crash=5), poisoned(), **OFTEN)
    assert last(tmp_path / "w")[2]["best_step"] == 4
    assert_best_agrees(tmp_path / "w")
    run(tmp_path / "w", Batches(), poisoned(), **OFTEN)
    assert_same_end(tmp_path / "plain", tmp_path / "w")


def test_a_lost_best_model_is_no_dead_end(tmp_path, caplog):
    run(tmp_path / "w", Batches(), poisoned(), **OFTEN)
    assert loop.is_finished(tmp_path / "w", "toy", 9)
    shutil.rmtree(tmp_path / "w" / "toy" / "best")
    assert not loop.is_finished(tmp_path / "w", "toy", 9)
    run(tmp_path / "w", Batches(crash=10), poisoned(), **OFTEN)
    assert "best: the best model, of step 9, is gone or damaged; the next that is" in caplog.text
    assert loop.is_finished(tmp_path / "w", "toy", 9)
    assert last(tmp_path / "w")[2]["best_step"] == 9
    assert_best_agrees(tmp_path / "w")


def test_a_damaged_best_model_gives_way_to_the_one_before(tmp_path, caplog):
    run(tmp_path / "w", Batches(), poisoned(), **OFTEN, steps=8)
    for path in (tmp_path / "w" / "toy" / "best" / "8").rglob("*"):
        if path.is_file() and path.stat().st_size:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    with pytest.raises(Crash):
        run(tmp_path / "w", Batches(crash=9), poisoned(), **OFTEN)
    assert "is gone or damaged; that of step 7 is taken" in caplog.text
    run(tmp_path / "w", Batches(), poisoned(), **OFTEN)
    assert last(tmp_path / "w")[2]["best_step"] == 9
    assert_best_agrees(tmp_path / "w")


def test_of_equal_scores_the_earlier_stays(tmp_path):
    run(tmp_path / "w", Batches(), poisoned(), lambda variables: 1.0, **OFTEN)
    step, _, record, _ = last(tmp_path / "w")
    assert step == 9 and record["best_step"] == 1 and record["waited"] == 8
    assert BestModels(tmp_path / "w", "toy").steps() == [1]


def test_an_empty_folder_is_no_finished_stage(tmp_path):
    run(tmp_path / "plain", Batches(), poisoned())
    (tmp_path / "w" / "toy" / "checkpoints" / "9").mkdir(parents=True)
    (tmp_path / "w" / "toy" / "best" / "9").mkdir(parents=True)
    assert not loop.is_finished(tmp_path / "w", "toy", 9)
    run(tmp_path / "w", Batches(), poisoned())
    assert_same_end(tmp_path / "plain", tmp_path / "w")
    assert loop.is_finished(tmp_path / "w", "toy", 9)


def stopping_at(validation):
    """A score whose n-th computation is stopped by SIGTERM, once."""
    calls = []

    def score(variables):
        calls.append(1)
        if len(calls) == validation:
            os.kill(os.getpid(), signal.SIGTERM)
        return -distance(variables)

    return score


@pytest.mark.parametrize("validation", [1, 3])
def test_a_validation_that_is_stopped_is_made_up_for(tmp_path, validation):
    """The first is that of step 4, the third that of the last step."""
    run(tmp_path / "plain", Batches(), poisoned())
    step = (4, 8, 9)[validation - 1]
    with pytest.raises(Stopped, match=f"toy: stopped and saved at step {step}; go on with: again"):
        run(tmp_path / "w", Batches(), poisoned(), stopping_at(validation))
    assert not loop.is_finished(tmp_path / "w", "toy", 9)
    with pytest.raises(Stopped, match=f"still to be validated, at step {step}; go on with: again"):
        run(tmp_path / "w", Batches(), poisoned(), stopping_at(1))
    run(tmp_path / "w", Batches(), poisoned())
    assert_same_end(tmp_path / "plain", tmp_path / "w")
    assert loop.is_finished(tmp_path / "w", "toy", 9)
    assert_best_agrees(tmp_path / "w")


def test_a_stop_after_the_last_save_is_obeyed(tmp_path, monkeypatch):
    prune = BestModels.prune

    def stop(self, saved):
        prune(self, saved)
        if saved.steps()[-1] == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(BestModels, "prune", stop)
    with pytest.raises(Stopped, match="toy: stopped after its end at step 9; go on with: again"):
        run(tmp_path / "w", Batches(), poisoned())
    assert loop.is_finished(tmp_path / "w", "toy", 9)


@pytest.mark.parametrize("content", ['[{"step": 1', "{}[", '[{"step": 1}]', "[3]"])
def test_a_damaged_list_of_batches_is_one_line(tmp_path, content):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "skipped.json").write_text(content)
    with pytest.raises(UserError, match=r"skipped\.json: cannot read it .*; restore or delete it"):
        run(tmp_path, Batches(), poisoned())


@pytest.mark.slow
def test_time_speed_and_a_trace_of_a_run_that_crashed_and_went_on(tmp_path, capfd):
    settings = {"steps": 60, "checkpoint_every": 10, "validate_every": 30}
    with pytest.raises(Crash):
        run(tmp_path, Batches(crash=48), poisoned(), profile=(10, 12), **settings)
    content = json.loads((tmp_path / "toy" / "goodput.json").read_text())
    assert content["seconds"]["lost"] == 0
    behind = content["seconds"]["steps"] - content["seconds_of_steps_before_checkpoint"]["40"]
    told = capfd.readouterr().err
    (trace,) = (tmp_path / "toy" / "logs" / "plugins" / "profile").iterdir()
    assert f"toy: trace of steps 10 to 12: {trace}" in told and "idle" in told
    assert {"perfetto_trace.json.gz"} < {path.name for path in trace.iterdir()}
    # What TensorBoard's plugin reads.
    (path,) = trace.glob("*.xplane.pb")
    assert "/host:CPU" in {plane.name for plane in ProfileData.from_file(str(path)).planes}
    # One run of every operation a step.
    (jitted,) = {one.count for one in traces.operations(trace).operations if "dot" in one.name}
    assert jitted % 3 == 0

    run(tmp_path, Batches(), poisoned(), profile=(10, 12), **settings)
    told = capfd.readouterr().err
    assert "toy: no trace of steps 10 to 12: the stage goes on from step 40" in told
    assert "in steps that were kept" in told and "TFLOP/s" in told
    content = json.loads((tmp_path / "toy" / "goodput.json").read_text())
    seconds, facts = content["seconds"], content["facts"]
    assert content["starts"] == 2 and seconds["lost"] == pytest.approx(behind) and behind > 0
    assert min(seconds.values()) >= 0
    assert all(seconds[kind] > 0 for kind in ("compiling", "restoring", "validating", "saving"))
    assert content["goodput"] == pytest.approx(seconds["steps"] / sum(seconds.values()))
    rate = facts["in_steps"]["tflops_per_s"]
    assert rate == pytest.approx(facts["flops_a_step"] * 60 / seconds["steps"] / 1e12, rel=0.01)
    # Forward and the kernel's gradient of each sample: 3 products and sums each.
    assert facts["flops_a_step"] > 2 * 2 * 3 * SETTINGS.batch_size
    logged = {
        (value.tag, event.step)
        for event in events(tmp_path / "toy" / "logs")
        for value in event.summary.value
    }
    for tag in ("train/tflops_per_s", "train/of_peak", "train/data_wait", "goodput/lost"):
        assert (tag, 60) in logged

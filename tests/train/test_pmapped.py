"""Training by `jax.pmap`: the numbers of jit over a mesh of the same devices, and what is refused.

Devices are simulated: eight in a process of its own, of which two or all train.
"""

import json
import pathlib
import shutil
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import micro_config, same
from tests.train.last_states import last_state
from tests.train.test_drawn_words import Colours, draw_colours
from tests.train.test_loop import SETTINGS, Batches, Judge
from tests.train.test_mesh import error, on_eight_devices, parallel, words
from textsr_jax.config.checks import checked
from textsr_jax.data import drawing
from textsr_jax.data.photograph_folders import Crops
from textsr_jax.errors import UserError
from textsr_jax.models import Network
from textsr_jax.train import drawn_words, loop, pmapped, steps, word_stages
from textsr_jax.train import mesh as meshes
from textsr_jax.train import state as states
from textsr_jax.train.drawn_words import DrawingData, UnfilledBatches
from textsr_jax.train.stages import joint, pretrain, stage0
from textsr_jax.train.training import open_training


def drawn(key):
    """Arrays of 12 rows, or of as many as a device has, in all the ways that training draws."""
    rows = 12 if key.dtype == jax.random.key(0).dtype else 4
    first, second = jax.random.split(jax.random.fold_in(key, 7))
    return {
        "uniform": jax.random.uniform(first, (rows, 5)),
        "normal": jax.random.normal(nnx.Rngs(dropout=second).dropout(), (rows, 2, 3)),
        "chance": jax.random.bernoulli(jax.random.split(key, 3)[2], 0.3, (rows, 33)),
        "bytes": jax.random.bits(first, (rows, 7), np.uint8),
    }


def test_devices_draw_their_rows_of_what_the_batch_draws():
    key = jax.random.key(5)
    parts = [drawn(pmapped.row_key(key, jnp.int32(index), rows=4)) for index in range(3)]
    assert same(jax.tree.map(lambda *rows: np.concatenate(rows), *parts), drawn(key))


def test_an_array_that_has_no_rows_cannot_be_drawn():
    key = pmapped.row_key(jax.random.key(5), jnp.int32(1), rows=4)
    for shape in ((), (3,), (5, 4)):
        with pytest.raises(ValueError, match="its leading axis must be the 4 rows"):
            jax.random.uniform(key, shape)


def test_what_pmap_cannot_do_is_refused(monkeypatch):
    config = micro_config("", "")
    config.parallel.pmap, config.parallel.fsdp = True, 2
    with pytest.raises(UserError, match=r"config.parallel.fsdp=2: must be 1 with .*pmap=True"):
        checked(config)
    assert meshes.make_placement(parallel(pmap=True)).pmap
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    with pytest.raises(UserError, match=r"pmap=True: it trains in one process, and here are 3"):
        meshes.make_placement(parallel(pmap=True))


def compare_stages() -> None:
    """Prints how far five steps by pmap over eight devices are from those by jit.

    The joint stage's loss holds those of pre-training, stage 1 and stage 2.
    """
    print(json.dumps({name: _compare(name) for name in ("joint", "focus", "stage0")}))


def filled(template):
    """Variables of a template, without the time that compiling the networks' own drawing takes."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, leaf.dtype)
        drawn = rng.normal(size=leaf.shape) / np.sqrt(max(1, np.prod(leaf.shape[:-1])))
        return drawn.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, template)


def _compare(name):
    runs = {}
    for pmap in (False, True):
        config = micro_config("", "")
        config.parallel.pmap = pmap
        config.ocr.cdistnet.dropout = config.focus.dropout = 0.1
        training = open_training(checked(config), pathlib.Path("no workdir"))
        placement = training.placement
        if name == "stage0":
            network, loss = stage0.SPEC.learns(training)
            hr = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)
            batch = Crops(hr, np.arange(16, dtype=np.int32), np.ones(16, bool))
        else:
            spec = {"joint": joint.SPEC, "focus": pretrain.FOCUS}[name]
            network, _ = spec.learns(training)
            loss, batch = word_stages.make_loss(training, spec), words()
        frozen = filled(training.focus.template) if name == "joint" else {}
        # Adam would make steps of full size of gradients that are nothing but rounding; short ones
        # do not make more of it where a maximum changes place.
        optimizer = optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.005, momentum=0.9))
        accumulate = 2 if name == "stage0" else 1
        step = steps.make_step(loss, optimizer, accumulate=accumulate, pmap=pmap)
        first = states.create(filled(network.template), optimizer, jax.random.key(1))
        state, scalars = placement.place(first), []
        step = jax.jit(
            placement.over_devices(step), out_shardings=(placement.shardings(state), None)
        )
        for _ in range(5):
            state, parts = step(state, placement.place(frozen), placement.shard_batch(batch))
            # The gradient's norm jumps where a maximum of a pooling changes place.
            names = sorted(parts.keys() - {"gradient_norm"})
            scalars.append({key: float(parts[key]) for key in names})
        runs[pmap] = scalars, state
    moved = jax.tree.map(error, first.params, state.params)
    errors = jax.tree.map(error, *(state.variables for _, state in runs.values()))
    return {
        "names": names,
        "scalars": max(
            error(one[key], other[key])
            for one, other in zip(*(run for run, _ in runs.values()), strict=True)
            for key in one
        ),
        "variables": max(jax.tree.leaves(errors)),
        "moved": max(jax.tree.leaves(moved)),
    }


class Blend(nnx.Module):
    """BatchNorm and dropout between two layers, quickly compiled."""

    def __init__(self, *, rngs):
        # A bias before BatchNorm has no gradient, and Adam would make steps of its rounding.
        self.first = nnx.Linear(3, 8, use_bias=False, rngs=rngs)
        self.last = nnx.Linear(8, 1, rngs=rngs)
        self.bn, self.dropout = nnx.BatchNorm(8, momentum=0.9, rngs=rngs), nnx.Dropout(0.2)

    def __call__(self, colours, *, train=False, rngs=None):
        features = self.bn(self.first(colours), use_running_average=not train)
        return self.last(self.dropout(nnx.relu(features), deterministic=not train, rngs=rngs))


BLEND = Network(lambda rngs: Blend(rngs=rngs))


def run(workdir, devices, pmap):
    """Runs a stage of nine steps from where it was left; half of its words are drawn."""
    placement = meshes.make_placement(parallel(pmap=pmap), jax.devices()[:devices])
    network = placement.synchronized(BLEND)

    def loss(variables, frozen, batch, key):
        found, stats = network.train(variables, batch.lr, rngs=nnx.Rngs(dropout=key))
        value = jnp.square(found - batch.lr.sum(-1, keepdims=True)).mean()
        return value, ({"loss": value}, stats)

    stage = loop.Stage(
        name="toy",
        initial=network.init,
        loss=loss,
        frozen=DrawingData({}, Colours(16)),
        settings=settings(),
        batches=UnfilledBatches(Batches(), 16),
        key_of=str,
        judge=Judge(lambda variables: -float(jnp.square(network(variables, jnp.eye(3))).sum())),
        around=lambda step: drawn_words.with_drawn_words(step, placement.batch_sharding),
    )
    loop.run(stage, workdir, placement, jax.random.key(0), "again")


def settings():
    made = SETTINGS.copy_and_resolve_references()
    made.update(average=0.0, accumulate=2, learning_rate=0.01)
    return made


def compare_runs() -> None:
    """Prints how far runs by pmap, whole ones and resumed ones, are from a run by jit."""
    drawing.draw = draw_colours
    found = []
    for devices in (2, 8):
        folder = pathlib.Path(tempfile.mkdtemp(dir=tempfile.gettempdir()))
        for name, pmap in (("jit", False), ("pmap", True)):
            run(folder / name, devices, pmap)
        for name in ("jit", "pmap"):
            shutil.copytree(folder / name, folder / f"from {name}")
            shutil.rmtree(folder / f"from {name}" / "toy" / "checkpoints" / "9")
            shutil.copytree(folder / f"from {name}", folder / f"{name} again")
        run(folder / "from pmap", devices, False)
        run(folder / "from jit", devices, True)
        run(folder / "pmap again", devices, True)
        ends = {
            path.name: last_state(path, "toy", BLEND, settings())[:2] for path in folder.iterdir()
        }
        shutil.rmtree(folder)
        found.append(
            {
                "errors": {
                    name: max(jax.tree.leaves(jax.tree.map(error, ends["jit"], ends[name])))
                    for name in ("pmap", "from pmap", "from jit")
                },
                "same": same(ends["pmap"], ends["pmap again"]),
                "step": int(ends["pmap"][1].step),
            }
        )
    print(json.dumps(found))


@pytest.mark.slow
def test_stages_have_the_numbers_of_jit():
    found = on_eight_devices("compare_stages", "test_pmapped")
    assert {"position", "recognition", "reading", "characters_right"} <= {*found["joint"]["names"]}
    for stage in found.values():
        assert stage["scalars"] < 1e-5
        assert stage["variables"] < 1e-5
        assert stage["moved"] > 1e-3


@pytest.mark.slow
def test_runs_have_the_numbers_of_jit_and_go_on_either_way():
    for found in on_eight_devices("compare_runs", "test_pmapped"):
        assert found["step"] == 9 and found["same"]
        assert max(found["errors"].values()) < 1e-5

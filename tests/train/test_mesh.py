"""Where training places arrays: what is refused, what is split; devices change no result."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from configs.paper import get_config
from tests import forked
from tests.conftest import WORDS, word_image
from textsr_jax import text
from textsr_jax.data.batching import Batch
from textsr_jax.errors import UserError
from textsr_jax.images import to_float
from textsr_jax.models import Network
from textsr_jax.train import augmentation, steps
from textsr_jax.train import mesh as meshes
from textsr_jax.train import state as states

# (devices, fsdp). The others are compared with the first.
PLACEMENTS = ((1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (8, 4))
STEPS, BATCH = 10, 8


def parallel(**changes):
    config = get_config().parallel.copy_and_resolve_references().unlock()
    config.update(changes)
    return config


def test_a_batch_is_split_over_the_devices_and_keeps_its_values():
    placement = meshes.make_placement(parallel())
    batch = {"lr": np.arange(jax.device_count() * 6, dtype=np.uint8).reshape(-1, 3)}
    sharded = placement.shard_batch(batch)
    assert np.array_equal(sharded["lr"], batch["lr"])
    assert sharded["lr"].sharding.mesh == placement.mesh


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fsdp": 3}, "config.parallel.fsdp=3: 4 devices are not a multiple"),
        ({"fsdp": 0}, "config.parallel.fsdp=0: "),
        ({"rules": ((".*",),)}, "is not a regular expression and an axis"),
        ({"rules": (("(", 0),)}, "is not a regular expression and an axis"),
        ({"rules": ((".*", "last"),)}, "is not a regular expression and an axis"),
    ],
)
def test_layouts_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        meshes.make_placement(parallel(**changes), [jax.devices()[0]] * 4)


class Colours(nnx.Module):
    """Convolution, BatchNorm and a linear layer, as the networks have, quickly compiled."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.bn = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.linear = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, images, *, train=False):
        features = nnx.relu(self.bn(self.conv(images), use_running_average=not train))
        return self.linear(features.mean((1, 2)))


NETWORK = Network(lambda rngs: Colours(rngs=rngs))


def colour_loss(variables, frozen, batch, key):
    """Squared distance from the mean colours and the spread of red, and some noise."""
    images = to_float(batch.hr)
    found, stats = NETWORK.train(variables, images)
    wanted = jnp.stack([images[..., 0].std((1, 2)), *images.mean((1, 2)).T], axis=-1)
    noise = 0.01 * jax.random.normal(key, wanted.shape)
    value = jnp.square(found - wanted - noise).mean()
    return value, ({"loss": value}, stats)


def train(devices, fsdp):
    """Ten steps: losses and norms of gradients, and the last state."""
    # Adam would make steps of full size of gradients that are nothing but rounding.
    optimizer = optax.sgd(0.05, momentum=0.9)
    placement = meshes.make_placement(parallel(fsdp=fsdp), jax.devices()[:devices])
    state = states.create(
        NETWORK.init(jax.random.key(0)), optimizer, jax.random.key(1), averaged=True
    )
    state = placement.place(state)
    step = jax.jit(
        steps.make_step(colour_loss, optimizer, decay=0.9),
        out_shardings=(placement.shardings(state), None),
    )
    rng = np.random.default_rng(0)
    scalars = []
    for _ in range(STEPS):
        shades = rng.integers(1, 256, (BATCH, 1, 1, 3))
        hr = rng.integers(0, shades, (BATCH, 8, 16, 3)).astype(np.uint8)
        batch = Batch(
            lr=hr[:, ::2, ::2],
            hr=hr,
            characters=np.zeros((BATCH, 1), np.int32),
            index=np.arange(BATCH, dtype=np.int32),
            valid=np.ones(BATCH, bool),
        )
        state, parts = step(state, {}, placement.shard_batch(batch))
        scalars.append([float(parts["loss"]), float(parts["gradient_norm"])])
    return scalars, state


def compare() -> None:
    """Prints, for each of `PLACEMENTS`, how far it is from the first; run with eight devices."""
    expected, first = train(*PLACEMENTS[0])
    found = []
    for devices, fsdp in PLACEMENTS[1:]:
        scalars, state = train(devices, fsdp)
        kernel = state.params["conv"]["kernel"]

        trees = [(first.variables, state.variables), (first.params, state.params)]
        errors = [jax.tree.map(error, *both) for both in trees]
        found.append(
            {
                "scalars": error(expected, scalars),
                "variables": max(jax.tree.leaves(errors)),
                "channels": [kernel.shape[-1], kernel.addressable_shards[0].data.shape[-1]],
                "momentum": state.opt_state[0]
                .trace["conv"]["kernel"]
                .addressable_shards[0]
                .data.shape[-1],
            }
        )
    print(json.dumps({"found": found, "losses": [losses[0] for losses in expected]}))


def error(a, b):
    """The largest difference, relative to the largest value, or to 0.1 where that is less."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 0.1))


def words() -> Batch:
    """Eight words of several lengths, one for each device."""
    labels = [WORDS[i % len(WORDS)] for i in range(BATCH)]
    hr = np.stack([np.asarray(word_image(label)) for label in labels])
    return Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.ALPHANUMERIC.encode(labels, 6),
        index=np.arange(BATCH, dtype=np.int32),
        valid=np.ones(BATCH, bool),
    )


def compare_augmentation() -> None:
    """Prints how far images lie apart that one device or eight changed, and how far they moved."""
    batch, found = words(), {}
    for name in ("change_words", "change_pairs"):
        change = jax.jit(getattr(augmentation, name))
        results = []
        for devices in (1, 8):
            placement = meshes.make_placement(parallel(), jax.devices()[:devices])
            changed = change(placement.shard_whole(batch), jax.random.key(3))
            results.append(np.asarray(changed.hr, np.int16))
        difference = np.abs(results[1] - results[0])
        moved = np.abs(results[0] - batch.hr).mean()
        found[name] = [int(difference.max()), float((difference > 0).mean()), float(moved)]
    print(json.dumps(found))


def on_eight_devices(function: str, module: str = "test_mesh"):
    """What a function of a module of these tests prints in a process with eight devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    code = f"from tests.train import {module}; {module}.{function}()"
    finished = forked.run(["-c", code], environment=environment)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.slow
def test_devices_change_no_result():
    printed = on_eight_devices("compare")
    assert printed["losses"][-1] < printed["losses"][0]
    for (_, fsdp), found in zip(PLACEMENTS[1:], printed["found"], strict=True):
        # Float32 sums in another order, over ten steps; arrays relative to their largest value, or
        # to 0.1 where that is less.
        assert found["scalars"] < 1e-5
        assert found["variables"] < 1e-5
        channels, held = found["channels"]
        assert held == channels // fsdp == found["momentum"]


@pytest.mark.slow
def test_devices_change_images_alike():
    for most, share, moved in on_eight_devices("compare_augmentation").values():
        # A value between two levels may be rounded either way.
        assert most <= 1
        assert share < 1e-3
        assert moved > 2


def test_an_undividable_batch_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    meshes.check_batch_size(16, "stage1.batch_size")
    with pytest.raises(UserError, match=r"config.stage1.batch_size=20: 8 devices .* take 16"):
        meshes.check_batch_size(20, "stage1.batch_size")
    with pytest.raises(UserError, match="take 8"):
        meshes.check_batch_size(0, "stage1.batch_size")
    meshes.check_batch_size(32, "stage1.batch_size", 4)
    with pytest.raises(UserError, match=r"=24: 8 devices times 2 parts do not divide it; take 16"):
        meshes.check_batch_size(24, "stage1.batch_size", 2)

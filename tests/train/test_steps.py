"""Training steps: pure, they lower the loss, and they change only what they train."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.conftest import WORDS, micro_config, same, word_image
from textsr_jax import decoding, text
from textsr_jax.data.batching import Batch
from textsr_jax.images import to_float
from textsr_jax.models import Network, build_focus, build_ocr, build_sr
from textsr_jax.models.crnn import CRNN
from textsr_jax.train import state as states
from textsr_jax.train import steps

pytestmark = pytest.mark.slow

CONFIG = micro_config("", "")


def batch() -> Batch:
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (4, 32, 128, 3), np.uint8)
    return Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.encode(["open", "2nd", "a", "zoo"], CONFIG.max_length),
        index=np.arange(4, dtype=np.int32),
        valid=np.ones(4, bool),
    )


@pytest.fixture(scope="module", params=["ocr", "focus", "sr"])
def training(request):
    """(network, loss, frozen variables) of each kind of stage."""
    focus = build_focus(CONFIG.focus)
    if request.param == "ocr":
        network = build_ocr(CONFIG.ocr)
        return network, steps.recognizer_loss(network), {}
    if request.param == "focus":
        return focus, steps.focus_loss(focus), {}
    sr = build_sr(CONFIG.sr)
    frozen = focus.init(jax.random.key(9))
    return sr, steps.super_resolution_loss(sr, focus, CONFIG.stage1), frozen


def test_a_step_is_pure_and_lowers_the_loss(training):
    network, loss, frozen = training
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.steps, settings.warmup = 100, 0.01
    optimizer = states.make_optimizer(settings)
    first = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))
    before = jax.tree.map(np.asarray, first)
    step = jax.jit(steps.make_step(loss, optimizer))

    state, parts = step(first, frozen, batch())
    assert same(first, before)
    assert same(step(first, frozen, batch())[0], state)
    assert int(state.step) == 1
    # The learning rate warms up from 0: the first step moves nothing but statistics.
    assert same(state.params, first.params)
    if first.stats:
        assert not same(state.stats, first.stats)

    start = float(parts["loss"])
    for _ in range(12):
        state, parts = step(state, frozen, batch())
    assert float(parts["loss"]) < start
    assert all(np.isfinite(float(part)) for part in parts.values())


def test_the_schedule_warms_up_and_ends_at_a_hundredth():
    schedule = states.schedule(CONFIG.stage2)
    settings = CONFIG.stage2
    assert float(schedule(0)) == 0
    assert float(schedule(round(settings.warmup * settings.steps))) == pytest.approx(
        settings.learning_rate
    )
    assert float(schedule(settings.steps)) == pytest.approx(settings.learning_rate / 100)


def test_the_clip_bounds_the_gradient():
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.clip, settings.warmup = 0.25, 0.0
    optimizer = states.make_optimizer(settings)
    params = {"w": jnp.zeros(3)}
    small, _ = optimizer.update({"w": jnp.ones(3) * 0.01}, optimizer.init(params), params)
    large, _ = optimizer.update({"w": jnp.ones(3) * 1e9}, optimizer.init(params), params)
    # Adam's first update is the learning rate in size, whatever the gradient's.
    assert np.allclose(small["w"], -settings.learning_rate, rtol=1e-3)
    assert np.allclose(large["w"], -settings.learning_rate, rtol=1e-3)


def test_the_weights_of_the_text_focus_parts_come_from_the_config():
    sr, focus = build_sr(CONFIG.sr), build_focus(CONFIG.focus)
    variables, frozen = sr.init(jax.random.key(0)), focus.init(jax.random.key(9))
    settings = CONFIG.stage1.copy_and_resolve_references()
    settings.position, settings.recognition, settings.scale = 3.0, 0.5, 2.0
    loss = steps.super_resolution_loss(sr, focus, settings)
    total, (parts, _) = jax.jit(loss)(variables, frozen, batch(), jax.random.key(1))
    expected = parts["mse"] + 3 * parts["position"] + 0.5 * parts["recognition"]
    assert float(total) == pytest.approx(2 * float(expected), rel=1e-5)


def test_a_small_crnn_learns_to_read_twelve_words():
    hr = np.stack([np.asarray(word_image(word)) for word in WORDS])
    words = Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.encode(WORDS, CONFIG.max_length),
        index=np.arange(len(WORDS), dtype=np.int32),
        valid=np.ones(len(WORDS), bool),
    )
    network = Network(lambda rngs: CRNN(channels=(16, 16, *(32,) * 5), hidden=32, rngs=rngs))
    read = decoding.recognizer(network, beam=1, steps=1)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))
    step = jax.jit(steps.make_step(steps.recognizer_loss(network), optimizer))
    state = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))

    def right() -> int:
        decoded = read({"params": state.params, "stats": state.stats}, to_float(hr))
        pairs = zip(text.decode_tokens(decoded.tokens), WORDS, strict=True)
        return sum(word == text.normalize(label) for word, label in pairs)

    assert right() == 0
    # It says nothing at first, and reads all twelve after about 200 steps here; how soon depends
    # on how a processor rounds.
    while right() < 10 and int(state.step) < 1000:
        for _ in range(50):
            state, parts = step(state, {}, words)
    assert right() >= 10
    assert float(parts["loss"]) < 1

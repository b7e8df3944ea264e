"""A step's arithmetic, and its rates."""

import jax
import jax.numpy as jnp
import pytest

from configs.paper import optimization
from textsr_jax.train import speed
from textsr_jax.train.peaks import Peak
from textsr_jax.train.speed import Speed


def square(matrix):
    return matrix @ matrix


def test_a_product_is_counted():
    assert speed.flops(square, jax.ShapeDtypeStruct((16, 16), jnp.float32)) == 2 * 16**3


def test_a_step_is_counted_on_its_whole_batch_without_what_draws_it():
    settings = optimization(steps=100, batch_size=8, learning_rate=0.1)
    settings.accumulate = 4

    def loss(variables, frozen, batch, key):
        value = (batch @ variables["params"]["kernel"]).sum()
        return value, ({"loss": value}, {})

    def drawing(step):
        # The batch is drawn as 8 rows from a number.
        return lambda state, frozen, number: step(
            state, frozen, jnp.tanh(jnp.full((8, 32), number)) @ jnp.ones((32, 32))
        )

    state = _state(settings, jnp.zeros((32, 16)))
    plain = speed.step_flops(loss, settings, None, state, {}, jnp.zeros((8, 32)))
    # Forward and the kernel's gradient; the optimiser takes some operations a parameter.
    products = 2 * 2 * 8 * 32 * 16
    assert products < plain < products + 40 * 32 * 16
    assert speed.step_flops(loss, settings, drawing, state, {}, jnp.zeros(())) == plain


def _state(settings, kernel):
    from textsr_jax.train import state as states

    optimizer = states.make_optimizer(settings)
    return states.create({"params": {"kernel": kernel}, "stats": {}}, optimizer, jax.random.key(0))


def test_rates_are_shares_of_the_peak(monkeypatch):
    peak = Peak(4e9, "2 x chip", "its maker")
    monkeypatch.setattr(speed.peaks, "of_all_devices", lambda dtype: peak)
    settings, facts = optimization(steps=100, batch_size=8, learning_rate=0.1), {}
    one = Speed("s", settings, "bfloat16", lambda matrix: speed.flops(square, matrix), facts)
    assert one.rates(10, 2.0) == {"images_per_s": 40}
    one.count(jnp.zeros((100, 100)))
    rates = one.rates(10, 2.0, wait=True)
    assert rates["tflops_per_s"] == pytest.approx(2e6 * 10 / 2.0 / 1e12)
    assert rates["of_peak"] == pytest.approx(1e7 / 4e9)
    assert facts["flops_a_step"] == 2e6 and facts["devices"] == "2 x chip"
    # The next start knows it, and counts no more.
    again = Speed("s", settings, "bfloat16", pytest.fail, facts)
    again.count(jnp.zeros((100, 100)))
    assert again.rates(10, 2.0) == rates


def test_what_cannot_be_counted_is_left_out_with_a_warning(monkeypatch, caplog):
    peak = Peak(4e9, "2 x chip", "its maker")
    monkeypatch.setattr(speed.peaks, "of_all_devices", lambda dtype: peak)

    def fail(*arguments):
        raise NotImplementedError("no count here")

    settings = optimization(steps=100, batch_size=8, learning_rate=0.1)
    one = Speed("toy", settings, "float32", fail, {})
    one.count(jnp.zeros(3))
    assert one.rates(1, 1.0, wait=True) == {"images_per_s": 8}
    assert "toy: cannot count a step's FLOPs (no count here)" in caplog.text

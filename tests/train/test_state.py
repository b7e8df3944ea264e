"""The optimiser by its formula: each of a stage's settings changes an update, as it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny
from textsr_jax.train import state as states

GRADIENTS = np.array([[3.0, -4.0, 0.5], [0.2, 0.1, -5.0], [-1.0, 2.0, 0.3], [0.01, 0.02, 0.0]])
START = np.array([0.5, -0.25, 2.0])


def settings(**changes):
    config = tiny.get_config().stage1.copy_and_resolve_references()
    config.update({"steps": 100, "learning_rate": 0.1, "schedule": "constant", "warmup": 0.0})
    config.update(changes)
    return config


def trained(config, gradients=GRADIENTS):
    """The weights after a step by each gradient."""
    optimizer = states.make_optimizer(config)
    params = {"w": jnp.asarray(START, jnp.float32)}
    state = optimizer.init(params)
    for gradient in gradients:
        gradient = {"w": jnp.asarray(gradient, jnp.float32)}
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return np.asarray(params["w"])


def test_the_clip_leaves_out_the_recognisers_of_a_text_prior():
    gradient = {"tpgsr": jnp.asarray([3.0, 4.0]), "prior": {"0": jnp.asarray([30.0])}}
    clip = states._clip(0.5)
    clipped, _ = clip.update(gradient, clip.init(gradient))
    np.testing.assert_allclose(clipped["tpgsr"], [0.3, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(clipped["prior"]["0"], [30.0])


def test_the_recogniser_inside_lemma_is_clipped_with_the_network_and_moves_less():
    config = settings(reader_rate=0.1, clip=0.5)
    gradient = {"lemma": jnp.asarray([0.3]), "reader": {"x": jnp.asarray([-0.4])}}
    optimizer = states.make_optimizer(config)
    state = optimizer.init(gradient)
    for factor in (1.0, 2.0):
        # Of norm 0.5 and 1: the second is halved, whole.
        scaled = jax.tree.map(lambda leaf: factor * leaf, gradient)  # noqa: B023
        updates, state = optimizer.update(scaled, state, gradient)
        np.testing.assert_allclose(updates["lemma"], [-0.1], rtol=1e-5)
        np.testing.assert_allclose(updates["reader"]["x"], [0.01], rtol=1e-5)


def by_hand(config, gradients=GRADIENTS):
    """AdamW behind a clip of the norm, as PyTorch's documentation writes it, in float64."""
    w, mean, square = START.copy(), np.zeros(3), np.zeros(3)
    for t, gradient in enumerate(np.asarray(gradients, np.float64), 1):
        gradient = gradient * min(1, config.clip / np.linalg.norm(gradient))
        mean = config.b1 * mean + (1 - config.b1) * gradient
        square = config.b2 * square + (1 - config.b2) * gradient**2
        w = w * (1 - config.learning_rate * config.weight_decay)
        unbiased = mean / (1 - config.b1**t), square / (1 - config.b2**t)
        w = w - config.learning_rate * unbiased[0] / (np.sqrt(unbiased[1]) + config.eps)
    return w


@pytest.mark.parametrize(
    "changes",
    [{}, {"b1": 0.5}, {"b2": 0.9}, {"eps": 0.1}, {"weight_decay": 0.2}, {"clip": 0.25}],
    ids=["plain", "b1", "b2", "eps", "weight_decay", "clip"],
)
def test_each_setting_acts_as_the_formula_says(changes):
    config = settings(**changes)
    found = trained(config)
    np.testing.assert_allclose(found, by_hand(config), rtol=1e-5, atol=1e-6)
    if changes:
        # Without it the weights would be elsewhere: the test can tell.
        assert np.abs(found - by_hand(settings())).max() > 1e-3


def test_the_clip_bounds_the_gradient():
    """A large gradient counts as one of norm `clip`, a small one as it is."""
    config = settings(clip=0.25)
    small = np.array([0.03, 0.0, -0.04])
    # Adam's second step tells how large the first gradient was beside it.
    for scale in (5, 1e3, 1e9):
        large = trained(config, [small * scale, small])
        np.testing.assert_allclose(large, trained(config, [small * 5, small]), rtol=1e-5)
    below = trained(config, [small * 2, small])
    assert np.abs(below - trained(config, [small * 5, small])).max() > 1e-3
    # Without a clip the first gradient would drown the second.
    unbounded = trained(settings(clip=1e12), [small * 1e3, small])
    assert np.abs(unbounded - trained(config, [small * 1e3, small])).max() > 1e-3


def test_the_cosine_warms_up_and_ends_at_a_hundredth():
    config = settings(schedule="cosine", warmup=0.1)
    rate = states.schedule(config)
    found = [float(rate(count)) for count in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(found, [0, 0.05, 0.1, (0.1 + 0.001) / 2, 0.001], rtol=1e-5)


def test_the_constant_rate_warms_up_and_stays():
    rate = states.schedule(settings(warmup=0.1))
    found = [float(rate(count)) for count in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.1, 0.1], rtol=1e-6)


def test_noam_falls_with_the_inverse_square_root():
    rate = states.schedule(settings(schedule="noam", warmup=0.1))
    # The step that comes after 9 is the tenth.
    found = [float(rate(count)) for count in (0, 4, 9, 39, 89)]
    np.testing.assert_allclose(found, [0.01, 0.05, 0.1, 0.1 / 2, 0.1 / 3], rtol=1e-6)


@pytest.mark.parametrize("schedule", states.SCHEDULES)
def test_the_last_part_of_the_steps_has_its_own_rate(schedule):
    plain = states.schedule(settings(schedule=schedule))
    rate = states.schedule(settings(schedule=schedule, final_from=0.7, final_learning_rate=0.003))
    for count in (0, 30, 69):
        assert float(rate(count)) == pytest.approx(float(plain(count)), rel=1e-6)
    for count in (70, 99):
        assert float(rate(count)) == pytest.approx(0.003)


def test_another_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule='linear' is not one of"):
        states.schedule(settings(schedule="linear"))


def test_schedules_keep_one_form_of_the_optimisers_state():
    """A workdir made with one of them goes on when its files are read with another code."""
    params = {"w": jnp.zeros(3)}
    forms = {
        jax.tree.structure(states.make_optimizer(settings(schedule=schedule)).init(params))
        for schedule in states.SCHEDULES
    }
    assert len(forms) == 1

"""Statistics of kernels' inputs: they give the exact change of a layer's output, in any layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.quantization.collecting import collect


def draw(number, *shape):
    return jax.random.normal(jax.random.key(number), shape)


def change(statistics, path, difference):
    """trace(D^T H D) of a kernel's difference D."""
    moments = statistics[path]
    rows = np.asarray(difference, np.float64).reshape(*moments.shape[:2], -1)
    return np.einsum("bic,bij,bjc->", rows, moments, rows)


IMAGES = draw(0, 2, 7, 8, 4)
X = draw(1, 5, 6)


def convolve(**options):
    def apply(kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(IMAGES, kernel, dimension_numbers=numbers, **options)

    return apply


# A layer each: its kernel's shape, and its output as a function of the kernel.
LAYERS = {
    "dense": ((6, 3), lambda kernel: X @ kernel),
    "dense, kernel first": ((6, 3), lambda kernel: kernel.T @ X.T),
    "dense of pieces": (
        (6, 4),
        lambda kernel: X @ jnp.concatenate(jnp.split(kernel, 2, 1)[::-1], 1),
    ),
    "heads beside outputs": ((6, 2, 3), lambda kernel: jnp.einsum("bi,iho->bho", X, kernel)),
    "heads before inputs": (
        (2, 3, 4),
        lambda kernel: jnp.einsum("bhi,hio->bho", X.reshape(5, 2, 3), kernel),
    ),
    "two input axes": ((2, 3, 4), lambda kernel: jnp.tensordot(X.reshape(5, 2, 3), kernel, 2)),
    "bfloat16": ((6, 3), lambda kernel: X @ kernel.astype(jnp.bfloat16).astype(jnp.float32)),
    "convolution": ((3, 2, 4, 5), convolve(window_strides=(2, 1), padding=((1, 0), (0, 1)))),
    "dilated": (
        (3, 2, 4, 5),
        convolve(window_strides=(1, 1), padding="VALID", rhs_dilation=(1, 3)),
    ),
    "transposed": (
        (3, 3, 4, 2),
        convolve(window_strides=(1, 1), padding=((2, 1), (1, 2)), lhs_dilation=(2, 2)),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_statistics_give_the_change_of_a_layers_output(name):
    shape, layer = LAYERS[name]
    kernel, other = draw(2, *shape), draw(3, *shape)
    if name == "bfloat16":
        kernel, other = (
            value.astype(jnp.bfloat16).astype(jnp.float32) for value in (kernel, other)
        )

    def apply(tree, factor):
        # The function may hide its products in other functions.
        return jax.jit(jax.checkpoint(lambda kernel: factor * layer(kernel)))(tree["kernel"])

    found = collect(lambda tree, batch: apply(tree, 1.0), {"kernel": kernel}, [0, 0])
    exact = 2 * jnp.square(layer(kernel) - layer(other)).sum()
    assert change(found, "kernel", kernel - other) == pytest.approx(float(exact), rel=1e-5)


def test_sums_of_layers_in_loops_of_tied_leaves_and_of_shared_columns():
    tied = draw(4, 6, 9)
    tree = {
        "params": {
            "layers": draw(5, 2, 3, 6, 6),
            "grouped": draw(6, 3, 3, 2, 6),
            "embedding": draw(7, 5, 6),
            "unused": draw(8, 6, 6),
            "number": jnp.ones((2, 2), jnp.int32),
        },
        "tied": tied,
        "again": tied,
        "pair": [draw(9, 6, 6), draw(10, 6, 6)],
    }

    def apply(tree, x):
        def step(x, kernel):
            return jnp.tanh(x @ kernel), None

        layers = tree["params"]["layers"]
        y, _ = jax.lax.scan(lambda x, kernels: jax.lax.scan(step, x, kernels), x, layers)
        stacked, _ = jax.lax.scan(step, x, jnp.stack(tree["pair"]))
        convolved = convolve(window_strides=(1, 1), padding="SAME", feature_group_count=2)
        return (
            y,
            stacked,
            convolved(tree["params"]["grouped"]),
            x @ tree["tied"] + x @ tree["again"],
            x @ tree["params"]["embedding"].T,
            x @ (2 * tree["params"]["unused"]),
        )

    found = collect(apply, tree, [X])
    # Sums over a kernel's last axis and computed kernels have none, nor has an integer leaf.
    assert found.keys() == {"layers", "grouped", "tied", "again", "pair/0", "pair/1"}
    moments = np.asarray(X.T @ X)
    for path in ("tied", "again"):
        np.testing.assert_allclose(found[path], 2 * moments[None], rtol=1e-5)
    np.testing.assert_allclose(found["pair/0"], moments[None], rtol=1e-5)
    x = X
    for layer, kernel in enumerate(tree["params"]["layers"].reshape(6, 6, 6)):
        np.testing.assert_allclose(found["layers"][layer], x.T @ x, rtol=1e-4, atol=1e-5)
        x = jnp.tanh(x @ kernel)
    # Both groups of feature maps count for all columns.
    parts = [
        jax.lax.conv_general_dilated_patches(
            IMAGES[..., channels],
            (3, 3),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for channels in (slice(0, 2), slice(2, 4))
    ]
    # Its patches have the channels before the taps.
    rows = [part.reshape(-1, 2, 9).swapaxes(1, 2).reshape(-1, 18) for part in parts]
    expected = sum(np.asarray(part.T @ part) for part in rows)
    np.testing.assert_allclose(found["grouped"][0], expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_collected_is_one_line():
    tree = {"kernel": jnp.ones((2, 2))}
    with pytest.raises(UserError, match="no batches"):
        collect(lambda tree, x: x @ tree["kernel"], tree, [])
    with pytest.raises(UserError, match="kernel: its inputs are not finite"):
        collect(lambda tree, x: x @ tree["kernel"], tree, [jnp.full((1, 2), jnp.nan)])

"""GPTQ and AdaRound: never worse than the nearest codes, by hand on a small kernel, in any form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.quantization import Rule, dequantize, quantize
from textsr_jax.quantization.collecting import collect
from textsr_jax.quantization.rounding_adaround import adaround
from textsr_jax.quantization.rounding_gptq import gptq
from textsr_jax.quantization.tree import unpacked_codes

METHODS = {"gptq": gptq, "adaround": adaround}


def layers():
    """A tree of a dense layer, of a convolution and of layers of a loop, and how it is applied."""
    keys = jax.random.split(jax.random.key(0), 4)
    tree = {
        "dense": {"kernel": jax.random.normal(keys[0], (40, 6)), "bias": jnp.zeros(6)},
        "convolution": jax.random.normal(keys[1], (3, 3, 4, 6)),
        "layers": jax.random.laplace(keys[2], (3, 6, 6)),
        "spare": jax.random.normal(keys[3], (8, 4)),
    }

    def apply(tree, batch):
        x, images = batch
        numbers = ("NHWC", "HWIO", "NHWC")
        convolved = jax.lax.conv_general_dilated(
            images, tree["convolution"], (1, 1), "SAME", dimension_numbers=numbers
        )
        dense = x @ tree["dense"]["kernel"] + tree["dense"]["bias"]
        looped, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), dense, tree["layers"])
        return convolved, looped

    def batch(number):
        one, two, three = jax.random.split(jax.random.key(number), 3)
        # Inputs that go together, as those of real layers do.
        x = jax.random.normal(one, (64, 10)) @ jax.random.normal(two, (10, 40))
        return x, jnp.cumsum(jax.random.normal(three, (2, 8, 8, 4)), axis=1)

    return tree, apply, [batch(1), batch(2)]


def errors(tree, quantized, statistics):
    """The squared change of outputs by the statistics, for each output of each kernel."""
    leaves = jax.tree_util.tree_leaves_with_path((tree, dequantize(quantized)))
    exact, changed = leaves[: len(leaves) // 2], leaves[len(leaves) // 2 :]
    found = {}
    for (keys, leaf), (_, other) in zip(exact, changed, strict=True):
        path = jax.tree_util.keystr(keys[1:], simple=True, separator="/")
        if path in statistics:
            moments = statistics[path]
            difference = np.asarray(leaf - other, np.float64).reshape(*moments.shape[:2], -1)
            found[path] = np.einsum("bic,bij,bjc->bc", difference, moments, difference)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_no_output_is_worse_than_with_the_nearest_codes(method):
    tree, apply, batches = layers()
    statistics = collect(apply, tree, batches)
    for bits, granularity in ((2, "tensor"), (3.5, "channel-bits"), (4, "group")):
        rules = [Rule("(?!.*bias).*", bits, "gaussian", granularity)]
        nearest, found = quantize(tree, rules), METHODS[method](tree, statistics, rules)
        before, after = errors(tree, nearest, statistics), errors(tree, found, statistics)
        assert before.keys() == {"dense/kernel", "convolution", "layers"}
        for path, error in before.items():
            assert (after[path] <= error * (1 + 1e-5)).all()
            # Inputs of these go together, so that much can be made up for.
            if path != "layers":
                assert after[path].sum() < 0.8 * error.sum()
        # Only codes change, and without statistics not even those.
        for name in ("offset", "scale", "shape", "bits", "prior", "axis", "group_size"):
            for path in ("convolution", "layers", "spare"):
                one, other = (getattr(packed[path], name) for packed in (nearest, found))
                np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(nearest["spare"].codes, found["spare"].codes)
    # A layer's own output on the batches changes less too.
    x, images = batches[0]
    wanted = apply(tree, (x, images))[0]
    changes = [
        float(jnp.square(apply(dequantize(packed), (x, images))[0] - wanted).sum())
        for packed in (nearest, found)
    ]
    assert changes[1] < 0.8 * changes[0]


def test_two_inputs_that_always_agree_make_up_for_each_other():
    """Rounding both down loses 0.75 of a step in all: one of them is rounded up."""
    tree = {"kernel": jnp.array([[0.0], [0.3], [0.45], [3.0]])}
    moments = np.diag([1.0, 1.0, 1.0, 1.0])
    moments[1, 2] = moments[2, 1] = 1.0
    rules = [Rule("kernel", 2, "minmax")]
    assert unpacked_codes(quantize(tree, rules)["kernel"]).ravel().tolist() == [0, 0, 0, 3]
    for method in METHODS.values():
        found = method(tree, {"kernel": moments[None]}, rules)["kernel"]
        assert unpacked_codes(found).ravel().tolist() == [0, 0, 1, 3]


def test_statistics_of_another_kernel_are_refused_and_empty_ones_change_nothing():
    tree = {"kernel": jnp.array([[0.0], [0.4], [3.0]]), "flat": jnp.ones((3, 2))}
    rules = [Rule(".*", 2, "minmax")]
    for method in METHODS.values():
        with pytest.raises(UserError, match=r"kernel: statistics of shape \(1, 2, 2\)"):
            method(tree, {"kernel": np.ones((1, 2, 2))}, rules)
        found = method(tree, {"kernel": np.zeros((1, 3, 3)), "flat": np.ones((1, 3, 3))}, rules)
        for name, packed in quantize(tree, rules).items():
            np.testing.assert_array_equal(found[name].codes, packed.codes)

"""What this project computes for the parity vectors of LEMMA."""

import dataclasses
import functools

import jax
import numpy as np

from benchmarks.golden import reference_tensors
from benchmarks.golden import vectors as golden_vectors
from benchmarks.golden.guided import tensors
from textsr_jax import losses
from textsr_jax.convert.lemma import TABLE
from textsr_jax.convert.table import to_state_dict, to_tree
from textsr_jax.images import to_float
from textsr_jax.models import Network
from textsr_jax.models.abinet import ABINet
from textsr_jax.models.layers.attention import keep
from textsr_jax.models.layers.pixels import with_mask
from textsr_jax.models.lemma import LEMMA, LocatedResolver, align_maps

_TABLE = dataclasses.replace(TABLE, blocks=1)
# The recogniser of both files.
_SMALL = {"hidden": 64, "encoder_layers": 1, "depths": (1, 1, 1, 1, 1), "dropout": 0.0}


def _build(rngs):
    """The network of both files, without dropout and STN."""
    network, reader = LEMMA(blocks=1, dropout=0.0, rngs=rngs), ABINet(**_SMALL, rngs=rngs)
    return LocatedResolver("lemma", network, reader, None, "never", mask=True)


@functools.cache
def _network(seed):
    network = Network(_build)
    state = {
        name: reference_tensors.tensor(name, shape, seed)
        for name, shape in _TABLE.published(network.template).items()
    }
    return network, to_tree(_TABLE, state, network.template)


def lemma(arrays, dtype):
    """The network in evaluation, and its parts for words of given lengths."""
    del dtype
    lr = to_float(golden_vectors.images(arrays["image"]))
    network, variables = _network(int(arrays["seed"]))

    @jax.jit
    def enlarge(variables, lr, lengths):
        module = network.module(variables)
        output, reading = module.enlarge(lr)
        short = module.reader.language(jax.nn.softmax(reading.seen), lengths, keep)
        maps = align_maps(reading.maps)
        head = module.lemma.head(with_mask(lr))
        head = jax.numpy.where(head > 0, head, head * module.lemma.slope[...])
        return output, reading, short, maps, module.lemma.guidance(head, maps, short, lengths)

    lengths = arrays["word_lengths"].astype(np.int32)
    output, reading, short, maps, features = enlarge(variables, lr, lengths)
    return {
        "seen": reading.seen,
        "read": reading.read,
        "lengths": reading.lengths,
        "short": short,
        "maps": maps[:1, ::5],
        "features": np.moveaxis(np.asarray(features), -1, 1)[:, ::4],
        "output": np.moveaxis(np.asarray(output), -1, 1),
    }


def lemma_loss(arrays, dtype):
    """A training step by the squared error and the loss of the recogniser."""
    del dtype
    network, variables = _network(int(arrays["seed"]))
    lr, hr = (to_float(golden_vectors.images(arrays[name])) for name in ("lr", "hr"))

    @functools.partial(jax.grad, has_aux=True)
    def differentiate(params, stats):
        given = {"params": params, "stats": stats}
        (images, reading), stats = network.train(given, lr, method="enlarge")
        mse = losses.mse(images, with_mask(hr))
        read = sum(
            losses.reading_loss(logits, arrays["targets"])
            for logits in (reading.seen, reading.read)
        )
        total = 100 * (mse + 0.01 * read)
        return total, ({"total": total, "mse": mse, "reading": read}, stats)

    @jax.jit
    def step(params, stats):
        gradient, (parts, stats) = differentiate(params, stats)
        # XLA computes nothing of what the file does not hold.
        return _picked(gradient, arrays), parts, _picked(stats, arrays)

    gradient, parts, stats = step(variables["params"], variables["stats"])
    found = to_state_dict(_TABLE, {"params": gradient, "stats": stats})
    return dict(parts) | tensors(found, arrays)


def _picked(tree, arrays):
    """The tree with None for every leaf whose gradient or value is not in the file."""

    def pick(keys, leaf):
        name = _TABLE.published_name("/".join(key.key for key in keys))
        return leaf if {f"grad_{name}", f"stat_{name}"} & arrays.keys() else None

    return jax.tree_util.tree_map_with_path(pick, tree)

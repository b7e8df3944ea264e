"""What this project computes for the parity vectors of LEMMA."""

import functools

import jax
import numpy as np

from benchmarks.golden import vectors as golden_vectors
from benchmarks.golden.guided import stand_in, training_step
from configs import paper
from textsr_jax.config.checks import checked
from textsr_jax.images import to_float
from textsr_jax.models import build_focus, build_sr
from textsr_jax.models.layers.attention import keep
from textsr_jax.models.layers.pixels import with_mask
from textsr_jax.models.located import align_maps
from textsr_jax.train.located import located_loss

# The network of both files, without dropout and STN.
_SMALL = {
    "name": "lemma",
    "apply_stn": "never",
    "lemma": {"blocks": 1, "dropout": 0.0},
    "abinet": {"hidden": 64, "encoder_layers": 1, "depths": (1, 1, 1, 1, 1), "dropout": 0.0},
}


@functools.cache
def _config():
    # The file has no text-focus recogniser.
    config = checked(paper.get_config("lemma"))
    return config.replace(sr=_SMALL, stage1={"position": 0.0, "recognition": 0.0})


def lemma(arrays, dtype):
    """The network in evaluation, and its parts for words of given lengths."""
    lr = to_float(golden_vectors.images(arrays["image"]))
    network = build_sr(_config().sr.replace(dtype=dtype))
    variables = stand_in(arrays, "lemma", network)

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
    """A training step by the loss of stage 1 with the published weights."""
    del dtype
    config, classes = _config(), arrays["targets"].astype(np.int32)
    # The alphabet has digits first, and the classes letters.
    characters = np.where(classes > 26, classes - 26, classes + 10) * (classes > 0)
    network = build_sr(config.sr)
    loss = located_loss(network, build_focus(config.focus), config.stage1)
    return training_step(arrays, "lemma", network, loss, {}, characters)

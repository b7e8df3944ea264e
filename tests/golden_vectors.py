"""The parity vectors: arrays that the published code gave, and stand-in checkpoints for it.

`GOLDEN_DIR` names the folder of the .npz files; the default is the copy in `tests/golden`.
"""

import functools
import os
import pathlib

import numpy as np

from tests.golden import reference_tensors
from textsr_jax.convert import import_state_dict
from textsr_jax.models import Network

FOLDER = pathlib.Path(os.environ.get("GOLDEN_DIR", pathlib.Path(__file__).parent / "golden"))


def vectors(name):
    """The arrays of `name`.npz, {name: array in PyTorch's layout}, the `seed` among them."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def state_dict(model, seed):
    """The stand-in checkpoint of `model`, {published name: array in PyTorch's layout}."""
    return reference_tensors.state_dict(model, int(seed))


def images(array):
    """Images or feature maps from PyTorch's (batch, channels, height, width) to channels last."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


@functools.cache
def imported(model, table, module, seed):
    """The network of the class `module` and its variables, from the stand-in file of `model`."""
    network = Network(lambda rngs: module(rngs=rngs))
    return network, import_state_dict(table, state_dict(model, seed), network.template)

"""The parity vectors: arrays that the published code gave, and stand-in checkpoints for it.

`GOLDEN_DIR` names the folder of the .npz files; the default is the copy in `tests/golden`.
"""

import functools
import os
import pathlib

import numpy as np

from tests.golden import reference_tensors
from textsr_jax import convert

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
def imported(model, seed, dtype="float32"):
    """The published network `model` and its variables, from the stand-in checkpoint of `seed`."""
    network = convert.network(model, stn=model in ("tbsrn", "tsrn"), dtype=dtype)
    file = "text_focus_recognizer" if model == "text_focus" else model
    return network, convert.import_state_dict(model, state_dict(file, seed), network.template)

"""The parity vectors: arrays that the published code gave, and stand-in checkpoints for it.

`GOLDEN_DIR` names the folder of the .npz files; the default is the copy in `tests/golden`.
"""

import functools
import os
import pathlib

import numpy as np

from benchmarks.golden import reference_tensors
from textsr_jax import convert
from textsr_jax.models import Network, Variables

COPY = pathlib.Path(__file__).parents[2] / "tests" / "golden"
FOLDER = pathlib.Path(os.environ.get("GOLDEN_DIR", COPY))


def vectors(name: str) -> dict[str, np.ndarray]:
    """The arrays of `name`.npz, {name: array in PyTorch's layout}, the `seed` among them."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def state_dict(model: str, seed: int) -> dict[str, np.ndarray]:
    """The stand-in checkpoint of `model`, {published name: array in PyTorch's layout}."""
    return reference_tensors.state_dict(model, int(seed))


def images(array: np.ndarray) -> np.ndarray:
    """Images or feature maps from PyTorch's (batch, channels, height, width) to channels last."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


@functools.cache
def network(model: str, dtype: str = "float32") -> Network:
    """The network of the published checkpoint `model`, the STN in front where the file holds it."""
    return convert.network(model, stn=model in convert.WITH_STN, dtype=dtype)


@functools.lru_cache(maxsize=2)  # of up to 250 MB each
def variables(model: str, seed: int) -> Variables:
    """Its variables, imported from the stand-in checkpoint of `seed` as a user's would be."""
    file = "text_focus_recognizer" if model == "text_focus" else model
    return convert.import_state_dict(model, state_dict(file, seed), network(model).template)


def imported(model: str, seed: int, dtype: str = "float32") -> tuple[Network, Variables]:
    """The published network `model` and its variables, from the stand-in checkpoint of `seed`."""
    return network(model, dtype), variables(model, seed)

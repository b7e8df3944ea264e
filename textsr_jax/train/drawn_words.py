"""Words that are drawn inside the training step, and batches that leave a place for them.

A batch's number and the stage's key decide its words: never the same twice, and the same again
where a run goes on.
"""

from collections.abc import Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data import drawing
from textsr_jax.data.batching import NO_IMAGES, Batch
from textsr_jax.data.drawing import DrawSettings
from textsr_jax.images import Array
from textsr_jax.models import Variables
from textsr_jax.train.comparison import Parts
from textsr_jax.train.state import TrainState
from textsr_jax.train.steps import DeviceData, Step, take_images

# The step's own keys are the stage's with the numbers of steps, which do not reach this one.
_KEY = 2**32 - 1


class UnfilledBatch(flax.struct.PyTreeNode):
    """A batch whose drawn words are not there yet; a pytree.

    Attributes:
      read: the words that are read; None where all words are drawn.
      number: int32 (drawn words of this process,), the batch's number since the stage began, from
        1, in each place.
    """

    read: Batch | None
    number: Array

    @property
    def index(self) -> Array:
        """The places of the words that are read among all records, as `Batch.index`."""
        return np.zeros(0, np.int32) if self.read is None else self.read.index


class UnfilledBatches(Iterator[UnfilledBatch]):
    """Endless batches whose drawn words are not there yet, with a state as Grain's iterators have.

    Args:
      read: gives the words that are read, as `batching.train_batches`; None where all are drawn.
      count: how many words are drawn for this process.
    """

    def __init__(self, read: Any, count: int):
        self._read, self._count, self._number = read, count, 0

    def __next__(self) -> UnfilledBatch:
        self._number += 1
        number = np.full(self._count, self._number, np.int32)
        return UnfilledBatch(None if self._read is None else next(self._read), number)

    def get_state(self) -> dict[str, Any]:
        """What `set_state` takes to go on from here; JSON-able."""
        read = None if self._read is None else self._read.get_state()
        return {"number": self._number, "read": read}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from where `get_state` was called."""
        self._number = state["number"]
        if self._read is not None:
            self._read.set_state(state["read"])


class DrawingData(flax.struct.PyTreeNode):
    """What lies on every device while a stage draws words; a pytree.

    Attributes:
      held: what the step takes without drawing: frozen variables, or `DeviceData`.
      drawing: how words are drawn. Its batch is the drawn part of the whole batch.
    """

    held: Variables | DeviceData
    drawing: DrawSettings


def with_drawn_words(step: Step, sharding: jax.sharding.Sharding) -> Step:
    """`step` for an `UnfilledBatch` and `DrawingData`: it draws the missing words first.

    The words are those of the whole batch on all devices of all processes, whatever their number.
    Where the images of the words that are read lie on the devices, they are taken there, so that
    the loss of `step` takes images as they come.

    Args:
      step: of `steps.make_step`.
      sharding: of every array of a batch.
    """

    def drawing_step(
        state: TrainState, data: DrawingData, batch: UnfilledBatch
    ) -> tuple[TrainState, Parts]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), _KEY)
        # Not by the step's number: after a batch that was left out, a step gets other words.
        words = drawing.draw(jax.random.fold_in(key, batch.number[0]), data.drawing)
        held, read = data.held, batch.read
        if isinstance(held, DeviceData):
            read = None if read is None else take_images(held, read)
            held = held.frozen
        whole = words if read is None else _joined(read, words)
        return step(state, held, jax.lax.with_sharding_constraint(whole, sharding))

    return drawing_step


def _joined(read: Batch, words: Batch) -> Batch:
    """Words that are read, then drawn ones. Their LR images may be missing where none is read."""
    if read.lr is None:
        words = words.replace(lr=NO_IMAGES)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), read, words)

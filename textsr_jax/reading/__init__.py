"""Reading word images of any size: `load` gives a `Reader`, which gives a `Reading` an image."""

from textsr_jax.reading.abstention import Abstention
from textsr_jax.reading.loading import check_unchanged, load, searched_otherwise
from textsr_jax.reading.reader import Description, Engine, Reader, Reading, batches

__all__ = [
    "Abstention",
    "Description",
    "Engine",
    "Reader",
    "Reading",
    "batches",
    "check_unchanged",
    "load",
    "searched_otherwise",
]

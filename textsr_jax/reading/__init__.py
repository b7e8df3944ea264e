"""Reading word images of any size: `load` gives a `Reader`, which gives a `Reading` an image."""

from textsr_jax.reading.loading import check_unchanged, load
from textsr_jax.reading.reader import Description, Engine, Reader, Reading, batches

__all__ = [
    "Description",
    "Engine",
    "Reader",
    "Reading",
    "batches",
    "check_unchanged",
    "load",
]

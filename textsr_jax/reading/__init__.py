"""Reading word images of any size: `load` gives a `Reader`, which gives a `Reading` an image."""

from textsr_jax.reading.reader import (
    SHIPPED,
    Description,
    Engine,
    Models,
    Reader,
    Reading,
    batches,
    check_unchanged,
    load,
    load_models,
)

__all__ = [
    "SHIPPED",
    "Description",
    "Engine",
    "Models",
    "Reader",
    "Reading",
    "batches",
    "check_unchanged",
    "load",
    "load_models",
]

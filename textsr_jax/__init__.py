"""textsr_jax: scene-text super-resolution and reading in JAX.

import textsr_jax
pair = textsr_jax.load()            # the pair that comes with the package
pair.enhance(["word.png"])  # SR images, uint8 (1, 32, 128, 3)
pair.read(["word.png"])     # [Reading(text="open", confidence=0.93)]
"""

__all__ = ["load"]


def __getattr__(name: str) -> object:
    # Imported on first use: worker processes of the generator import this package without JAX.
    if name == "load":
        from textsr_jax.reading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

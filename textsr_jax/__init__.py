"""textsr_jax: scene-text super-resolution and reading in JAX.

import textsr_jax
pair = textsr_jax.load()        # the pair that comes with the package
pair.enhance("word.png")        # its SR image, uint8 (32, 128, 3)
pair.read("word.png")           # Reading(text="open", confidence=0.93)
pair.read(["a.png", "b.png"])   # a list of them
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textsr_jax.errors import UserError
    from textsr_jax.reading import Reader, Reading, load

__version__ = "0.1.0"

__all__ = ["Reader", "Reading", "UserError", "load"]


def __getattr__(name: str) -> object:
    # Imported on first use: worker processes of the generator import this package without JAX.
    if name == "UserError":
        from textsr_jax.errors import UserError

        return UserError
    if name in __all__:
        from textsr_jax import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Scene-text super-resolution and reading in JAX: STN + EDSR, CDistNet, text-focus loss, ACIQ.

The models that come with the package read images of words:

    import textsr_jax

    reader = textsr_jax.load()        # or load(SOURCE): a workdir of training, or a packed file
    reader.read("word.png")           # Reading(text="open", confidence=0.93, abstained=False)
    reader.read(["a.png", "b.png"])   # a list of them, one an image
    reader.enhance("word.png")        # the SR image, uint8 (32, 128, 3)

They read whole photographs too, where the extra [photos] is installed:

    textsr_jax.read_page("photo.jpg") # Page: lines of words with texts, confidences and boxes

Each part also serves alone:

    build_sr, build_ocr, build_focus, build_rescaler
                    a part of a config to a Network: its parameters and a pure function of them
    losses          the text-focus loss and all others, functions of arrays
    metrics         PSNR, SSIM and the accuracy of words
    decoding        greedy and beam search over any decoder, CTC
    quantization    quantize(tree, rules): ACIQ on any tree of parameters

Bad input raises UserError, whose message is one line for people. Where a package is missing, the
message names the extra that brings it. The commands textsr-read, textsr-train, textsr-evaluate and
textsr-quantize list their flags with --help.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textsr_jax import decoding, losses, metrics, quantization
    from textsr_jax.errors import UserError
    from textsr_jax.models import Network, build_focus, build_ocr, build_rescaler, build_sr
    from textsr_jax.photos.page import Page
    from textsr_jax.photos.page_reading import read_page
    from textsr_jax.reading import Reader, Reading, load

__version__ = "0.1.0"

__all__ = [
    "Network",
    "Page",
    "Reader",
    "Reading",
    "UserError",
    "build_focus",
    "build_ocr",
    "build_rescaler",
    "build_sr",
    "decoding",
    "load",
    "losses",
    "metrics",
    "quantization",
    "read_page",
]

# The module of each name that is not a module itself.
_MODULES = {
    "Network": "models",
    "Page": "photos.page",
    "Reader": "reading",
    "Reading": "reading",
    "UserError": "errors",
    "build_focus": "models",
    "build_ocr": "models",
    "build_rescaler": "models",
    "build_sr": "models",
    "load": "reading",
    "read_page": "photos.page_reading",
}


def __getattr__(name: str) -> object:
    # Imported on first use: worker processes of the generator import this package without JAX.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
    return getattr(module, name) if name in _MODULES else module


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

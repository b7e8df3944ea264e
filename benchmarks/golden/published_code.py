"""What the makers of vectors share: published PyTorch code from a checkout, with stand-in weights.

The classes run on a CPU, in float32 but for training steps. Nothing of a checkout is changed. What
newer PyTorch versions do otherwise is replaced here.
"""

import contextlib
import functools
import json
import pathlib
import sys
import types
from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks import needs_extra
from benchmarks.golden import reference_tensors
from textsr_jax.errors import UserError

with needs_extra(__name__):
    import torch
    from torch.nn import functional

SEED = 0
# Packages that published files import for parts that do not run here.
_IDLE = ("torchvision", "torchvision.models", "torchvision.transforms", "cv2")


def use(checkout: str, command: str, file: str = "tsrn.py") -> None:
    """Lets published modules be imported from a checkout, once, and sets PyTorch up.

    Args:
      checkout: the folder of the published code.
      command: how the user started this, for messages.
      file: a file of its folder `model`, to tell whether it is the right code.

    Raises:
      UserError: the folder holds no such code.
    """
    if not (pathlib.Path(checkout) / "model" / file).is_file():
        raise UserError(f"{checkout}: no model/{file} there; use: {command} CHECKOUT")
    torch.set_num_threads(1)
    for name in _IDLE:
        module = types.ModuleType(name)
        above, _, last = name.rpartition(".")
        if above:
            setattr(sys.modules[above], last, module)
        sys.modules.setdefault(name, module)
    sys.path.insert(0, checkout)
    from model import tps_spatial_transformer

    # TextZoom's code asks for PyTorch 1.2, whose grids ended at the centres of pixels.
    tps_spatial_transformer.F = types.SimpleNamespace(
        grid_sample=functools.partial(functional.grid_sample, align_corners=True)
    )


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Modules and images that are made in this block are of float64.

    The published code rounds gradients in float32 to three digits, too few to compare with.
    """
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def filled(module: torch.nn.Module, prefix: str = "") -> torch.nn.Module:
    """A module with stand-in weights, drawn from `prefix` + name; constants stay."""
    state = module.state_dict()
    for name, tensor in state.items():
        if not is_constant(name):
            made = reference_tensors.tensor(prefix + name, tuple(tensor.shape), SEED)
            state[name] = torch.from_numpy(np.asarray(made))
    module.load_state_dict(state)
    return module


def is_constant(name: str) -> bool:
    """Whether a tensor is a table or a matrix that the network computes."""
    return name.startswith("tps.") or name.endswith(".pe")


def eight_bits(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A stand-in image batch, uint8 (batch, 3, height, width)."""
    return np.round(255 * reference_tensors.image(name, shape, SEED)).astype(np.uint8)


def masked(images: np.ndarray) -> torch.Tensor:
    """Images in [0, 1] with the mask that the published data loader makes with Pillow."""
    found = []
    for image in images:
        gray = Image.fromarray(image.transpose(1, 2, 0)).convert("L")
        mean = np.array(gray).mean()
        mask = np.asarray(gray.point([0 if value > mean else 255 for value in range(256)]))
        found.append(np.concatenate([image, mask[None]]))
    made = torch.from_numpy(np.stack(found).astype(np.float32) / 255)
    return made.to(torch.get_default_dtype())


def read(recognizer: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A recogniser's probabilities (26, batch, 37), and the same as networks take them."""
    resized = functional.interpolate(images[:, :3], (32, 100), mode="bicubic")
    gray = 0.299 * resized[:, :1] + 0.587 * resized[:, 1:2] + 0.114 * resized[:, 2:3]
    prior = recognizer(gray).softmax(-1)
    return prior, shown(prior)


def shown(prior: torch.Tensor) -> torch.Tensor:
    """Probabilities (26, batch, 37) as networks take them, (batch, 37, 1, 26)."""
    return prior.permute(1, 2, 0).unsqueeze(2)


def write_names(
    path: pathlib.Path,
    network: torch.nn.Module,
    recognizer: torch.nn.Module | None = None,
    about: str = "state_dict_G of the published checkpoint",
) -> None:
    """Writes the names and shapes of a network's tensors and its recogniser's, as `prior.0`.

    `about` says what file holds the network.
    """
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    constants = {name: shape for name, shape in shapes.items() if is_constant(name)}
    tensors = {name: shape for name, shape in shapes.items() if name not in constants}
    counted = [*network.parameters()]
    if recognizer is not None:
        for name, tensor in recognizer.state_dict().items():
            tensors[f"prior.0.{name}"] = list(tensor.shape)
        about, counted = (
            f"{about}, and its recogniser as prior.0",
            [*counted, *recognizer.parameters()],
        )
    content = {
        "checkpoint": about,
        "parameters": sum(tensor.numel() for tensor in counted),
        "constants": constants,
        "tensors": tensors,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def of_a_step(
    total: torch.Tensor,
    parts: dict[str, torch.Tensor],
    network: torch.nn.Module,
    students: list[torch.nn.Module],
    gradients: tuple[str, ...],
    statistics: tuple[str, ...],
) -> dict[str, np.ndarray]:
    """The arrays of a training step, float32: values, some gradients, and some statistics."""
    total.backward()
    tensors = dict(network.named_parameters())
    for stage, student in enumerate(students):
        tensors |= {f"prior.{stage}.{name}": t for name, t in student.named_parameters()}
    state = network.state_dict()
    found = {**parts, "total": total}
    found |= {f"grad_{name}": tensors[name].grad for name in gradients}
    found |= {f"stat_{name}": state[name] for name in statistics}
    return {name: array.detach().numpy().astype(np.float32) for name, array in found.items()}

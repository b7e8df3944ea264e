"""The networks of textsr_jax in plain PyTorch, under the names of the published checkpoints.

What is timed against the JAX ones and compared with them; `benchmarks.torch_training` trains some.
Tensors that the published code never uses, or computes itself, are left out, and so is dropout.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from benchmarks.golden import reference_tensors
from benchmarks.torch_networks.cdistnet import CDistNet
from benchmarks.torch_networks.crnn import CRNN
from benchmarks.torch_networks.edsr import EDSR
from benchmarks.torch_networks.lemma import LEMMA
from benchmarks.torch_networks.resampler import Resampler
from benchmarks.torch_networks.tatt import TATT
from benchmarks.torch_networks.tbsrn import TBSRN
from benchmarks.torch_networks.text_focus import TextFocusRecognizer
from benchmarks.torch_networks.tpgsr import TPGSR
from benchmarks.torch_networks.tsrn import TSRN

NETWORKS = {
    "edsr": EDSR,
    "tbsrn": TBSRN,
    "tsrn": TSRN,
    "tpgsr": TPGSR,
    "tatt": TATT,
    "lemma": LEMMA,
    "resampler": Resampler,
    "text_focus": TextFocusRecognizer,
    "cdistnet": CDistNet,
    "crnn": CRNN,
}


def load(
    model: str, seed_or_state_dict: int | Mapping[str, np.ndarray | torch.Tensor]
) -> nn.Module:
    """The published network `model`, a key of `NETWORKS`, in evaluation mode, float32 on the CPU.

    Args:
      model: its name.
      seed_or_state_dict: its published checkpoint, tensors by name (a leading `module.` falls off,
        tensors that the network lacks are dropped), or the seed of the stand-in for it that the
        parity vectors were made with.

    Raises:
      ValueError: a tensor is missing.
    """
    tensors = seed_or_state_dict
    if isinstance(tensors, int):
        file = "text_focus_recognizer" if model == "text_focus" else model
        tensors = reference_tensors.state_dict(file, tensors)
    network = NETWORKS[model]()
    tensors = {
        name.removeprefix("module."): torch.as_tensor(tensor) for name, tensor in tensors.items()
    }
    missing, _ = network.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"{model}: {len(missing)} tensors are missing, {missing[0]!r} among them")
    return network.eval()

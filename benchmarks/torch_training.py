"""The training steps of both stages in plain PyTorch: forward, loss, backward, clip, Adam.

What `benchmarks.train` times against the JAX steps; a test holds both to the same numbers.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from torch import nn

from benchmarks import torch_networks
from benchmarks.torch_networks.cdistnet import PAD
from benchmarks.torch_networks.edsr import EDSR
from benchmarks.torch_networks.stn import STN
from textsr_jax import text
from textsr_jax.data.batching import Batch

Tensors = Mapping[str, np.ndarray]

_GRAY = (0.299, 0.587, 0.114)


class Loss(nn.Module):
    """Computes a stage's loss from tensors of a batch; what is trained are its parameters."""

    def tensors(self, batch: Batch, device: torch.device) -> tuple[torch.Tensor, ...]:
        """What `forward` takes, on `device`; images as uint8."""
        raise NotImplementedError

    def trained(self) -> list[nn.Parameter]:
        """The parameters that get gradients."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


class SuperResolutionLoss(Loss):
    """Stage 1: STN and EDSR by the text-focus loss, the recogniser in it frozen.

    Args:
      edsr, stn, focus: tensors by published name.
      config: like `configs.paper`; the size of EDSR and the weights of the loss are used.
    """

    def __init__(self, *, edsr: Tensors, stn: Tensors, focus: Tensors, config: ConfigDict):
        super().__init__()
        self.stn = STN(3)
        self.edsr = EDSR(**{k: v for k, v in config.sr.edsr.items() if k != "remat"})
        for network, tensors in ((self.stn, stn), (self.edsr, edsr)):
            _fill(network, tensors)
        self.focus = torch_networks.load("text_focus", focus).requires_grad_(False)
        self.weights = config.stage1.position, config.stage1.recognition, config.stage1.scale
        self.register_buffer("gray", torch.tensor(_GRAY).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "SuperResolutionLoss":
        """Sets the mode of what is trained; the frozen recogniser stays in evaluation mode."""
        super().train(mode)
        self.focus.eval()
        return self

    def tensors(self, batch: Batch, device: torch.device) -> tuple[torch.Tensor, ...]:
        inputs, targets, mask = (np.asarray(a) for a in text.focus_tokens(batch.characters))
        return (
            _images(batch.lr, device),
            _images(batch.hr, device),
            *(
                torch.from_numpy(array.copy()).to(device)
                for array in (inputs.astype(np.int64), targets.astype(np.int64), mask)
            ),
        )

    def forward(
        self,
        lr: torch.Tensor,
        hr: torch.Tensor,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        lr, hr = lr.float() / 255, hr.float() / 255
        # The STN stays float32, as on the other side.
        with torch.autocast(lr.device.type, enabled=False):
            _, rectified = self.stn(lr)
        sr = self.edsr(rectified).float()
        with torch.no_grad():
            _, hr_attention = self.focus(self._gray(hr), inputs)
        logits, attention = self.focus(self._gray(sr), inputs)
        position, recognition, scale = self.weights
        used = mask.amax(0)
        difference = (attention.float() - hr_attention.float()).abs().mean((0, 1, 3))
        losses = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        total = (
            F.mse_loss(sr, hr)
            + position * (difference * used).sum() / used.sum()
            + recognition * (losses * mask).sum() / mask.sum()
        )
        return scale * total

    def _gray(self, images: torch.Tensor) -> torch.Tensor:
        return (images * self.gray).sum(1, keepdim=True)


class RecognizerLoss(Loss):
    """Stage 2: CDistNet by teacher forcing, cross-entropy with label smoothing 0.1, no dropout.

    Args:
      tensors: of CDistNet, by published name.
    """

    def __init__(self, tensors: Tensors):
        super().__init__()
        self.ocr = torch_networks.load("cdistnet", tensors)

    def tensors(self, batch: Batch, device: torch.device) -> tuple[torch.Tensor, ...]:
        tokens = np.asarray(text.cdistnet_tokens(batch.characters)).astype(np.int64)
        return _images(batch.hr, device), torch.from_numpy(tokens).to(device)

    def forward(self, hr: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        logits = self.ocr(hr.float() / 128 - 1, tokens[:, :-1]).float()
        log_probabilities, targets = logits.log_softmax(-1), tokens[:, 1:]
        true = log_probabilities.gather(2, targets[..., None])[..., 0]
        # Smoothing is spread over the other classes, where PyTorch's own takes the true one too.
        others = log_probabilities.sum(-1) - true
        losses = -0.9 * true - 0.1 / (logits.shape[-1] - 1) * others
        mask = targets != PAD
        return (losses * mask).sum() / mask.sum()


def make_step(
    loss: Loss, settings: ConfigDict, rates: Sequence[float], *, bfloat16: bool, compiled: bool
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """A training step: takes `loss.tensors(...)`, gives the loss and the gradient's norm.

    Args:
      loss: what is trained, on its device; images and kernels become channels-last on a GPU.
      settings: the stage's `optimization` config.
      rates: the learning rate of each step; the last one stays.
      bfloat16: whether to compute in it, by autocast.
      compiled: whether `torch.compile` compiles the loss.
    """
    parameters = loss.train().trained()
    device = parameters[0].device.type
    if device == "cuda":
        loss.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        parameters,
        betas=(settings.b1, settings.b2),
        weight_decay=settings.weight_decay,
        fused=device == "cuda",
    )
    compute = torch.compile(loss) if compiled else loss
    taken = 0

    def step(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal taken
        for group in optimizer.param_groups:
            group["lr"] = rates[min(taken, len(rates) - 1)]
        taken += 1
        optimizer.zero_grad(set_to_none=True)
        context = torch.autocast(device, torch.bfloat16) if bfloat16 else contextlib.nullcontext()
        with context:
            value = compute(*tensors)
        value.backward()
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        return value.detach(), norm

    return step


def _fill(network: nn.Module, tensors: Tensors) -> None:
    missing, unknown = network.load_state_dict(
        {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()},
        strict=False,
    )
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise ValueError(f"missing: {missing}, unknown: {unknown}")


def _images(images: np.ndarray, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(images).transpose(0, 3, 1, 2)).to(device)
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return tensor.contiguous(memory_format=layout)

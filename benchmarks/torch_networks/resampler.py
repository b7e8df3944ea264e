"""The content-adaptive resampler in PyTorch, under the names of its `kgn.pth`."""

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_networks.edsr import RGB_MEAN

SCALE = 2
KERNEL_SIZE = 3 * SCALE + 1


class Downscaled(NamedTuple):
    """Kernels and offsets (batch, 49, h, w), taps row by row, and the images (batch, 3, h, w)."""

    kernels: torch.Tensor
    offsets_h: torch.Tensor
    offsets_v: torch.Tensor
    images: torch.Tensor


def conv(inputs: int, outputs: int, size: int = 3) -> list[nn.Module]:
    return [nn.ReflectionPad2d(size // 2), nn.Conv2d(inputs, outputs, size)]


def downsample(inputs: int, outputs: int) -> nn.Sequential:
    layers = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * inputs, outputs, 1))
    return nn.Sequential(OrderedDict(downsample=layers))


def trunk() -> nn.Sequential:
    """From an eighth of the image's size to that of the downscaled image."""
    scale = 8 // SCALE
    upsample = nn.Sequential(nn.Conv2d(256, 256 * scale * scale, 1), nn.PixelShuffle(scale))
    layers = [layer for _ in range(3) for layer in (*conv(256, 256), nn.ReLU())]
    layers.append(nn.Sequential(OrderedDict(upsample=upsample)))
    return nn.Sequential(*layers, *conv(256, 256), nn.ReLU())


def head(*activation: nn.Module) -> nn.Sequential:
    """To one value for each tap."""
    return nn.Sequential(*conv(256, 256), nn.ReLU(), *conv(256, KERNEL_SIZE**2), *activation)


class ResidualBlock(nn.Module):
    """Convolution, leaky ReLU, convolution, added to the input."""

    def __init__(self):
        super().__init__()
        self.transform = nn.Sequential(*conv(128, 128), nn.LeakyReLU(0.2), *conv(128, 128))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.transform(x)


class Resampler(nn.Module):
    """Halves RGB images (batch, 3, H, W) in [0, 1], H and W multiples of 8."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(3, 1, 1), persistent=False)
        self.ds_1 = nn.Sequential(*conv(3, 64, 5), nn.LeakyReLU(0.2))
        self.ds_2, self.ds_4 = downsample(64, 128), downsample(128, 128)
        self.res_4 = nn.Sequential(*(ResidualBlock() for _ in range(5)))
        self.ds_8 = downsample(128, 256)
        self.kernels_trunk, self.kernels_weight = trunk(), head()
        self.offsets_trunk = trunk()
        self.offsets_h_generation, self.offsets_v_generation = head(nn.Tanh()), head(nn.Tanh())

    def forward(self, hr: torch.Tensor) -> Downscaled:
        x = self.ds_4(self.ds_2(self.ds_1(hr - self.mean)))
        x = self.ds_8(x + self.res_4(x))
        kernels = self.kernels_weight(self.kernels_trunk(x)).clamp(1e-6, 1)
        kernels = kernels / kernels.sum(1, keepdim=True)
        offsets = self.offsets_trunk(x)
        offsets_h = self.offsets_h_generation(offsets)
        offsets_v = self.offsets_v_generation(offsets)
        images = resample(hr, kernels, offsets_h, offsets_v)
        return Downscaled(kernels, offsets_h, offsets_v, images)


def resample(
    hr: torch.Tensor, kernels: torch.Tensor, offsets_h: torch.Tensor, offsets_v: torch.Tensor
) -> torch.Tensor:
    """Each pixel's kernel times bilinear samples of `hr`, padded by reflection, at its moved taps.

    Outside the padding a sample's weights stay those of its place before it is moved to the border,
    as published; grid_sample would move them too.
    """
    pad = KERNEL_SIZE // 2
    height, width = hr.shape[2:]
    padded = F.pad(hr, (pad, pad, pad, pad), mode="reflect")
    rows, columns = padded.shape[2:]
    pixels = padded.flatten(2)
    h, w = kernels.shape[2:]
    y = (torch.arange(h, device=hr.device)[:, None] + 0.5) / h * height - 0.5
    x = (torch.arange(w, device=hr.device) + 0.5) / w * width - 0.5
    tap = torch.arange(KERNEL_SIZE**2, device=hr.device)[:, None, None]
    top, bottom, below = between(y + tap // KERNEL_SIZE + SCALE * offsets_v, rows)
    left, right, beside = between(x + tap % KERNEL_SIZE + SCALE * offsets_h, columns)

    def at(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        index = (row * columns + column).flatten(1)[:, None].expand(-1, hr.shape[1], -1)
        return pixels.gather(2, index).unflatten(2, kernels.shape[1:])

    below, beside = below[:, None], beside[:, None]
    upper = torch.lerp(at(top, left), at(top, right), beside)
    lower = torch.lerp(at(bottom, left), at(bottom, right), beside)
    return (kernels[:, None] * torch.lerp(upper, lower, below)).sum(2)


def between(position: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The two pixels about a position, and the second one's weight."""
    low = position.floor()
    first = low.long().clamp(0, size - 1)
    return first, (first + 1).clamp(max=size - 1), position - low

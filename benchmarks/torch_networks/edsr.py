"""EDSR x2 in PyTorch, under the names of the content-adaptive resampler's `usn.pth`."""

import torch
from torch import nn

RGB_MEAN = (0.4488, 0.4371, 0.4040)


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, scaled down and added to the input."""

    def __init__(self, channels: int, residual_scale: float):
        super().__init__()
        self.residual_scale = residual_scale
        self.body = nn.Sequential(conv(channels, channels), nn.ReLU(), conv(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.residual_scale * self.body(x)


class EDSR(nn.Module):
    """RGB (batch, 3, H, W) in [0, 1] to (batch, 3, 2 H, 2 W), not clipped."""

    def __init__(self, blocks: int = 32, channels: int = 256, residual_scale: float = 0.1):
        super().__init__()
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(3, 1, 1), persistent=False)
        self.head = nn.Sequential(conv(3, channels))
        body = [ResidualBlock(channels, residual_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*body, conv(channels, channels))
        upsample = nn.Sequential(conv(channels, 4 * channels), nn.PixelShuffle(2))
        self.tail = nn.Sequential(upsample, conv(channels, 3))

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        head = self.head(lr - self.mean)
        return self.tail(head + self.body(head)) + self.mean

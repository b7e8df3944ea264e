"""ResNet45 of CDistNet and ABINet in PyTorch, under the names of their published checkpoints."""

import torch
from torch import nn

CHANNELS, DEPTHS, STRIDES = (32, 64, 128, 256, 512), (3, 4, 6, 6, 3), (2, 1, 2, 1, 1)


class Block(nn.Module):
    """A residual block: 1x1 convolution, then a 3x3 one, which may be strided."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + self.downsample(x)).relu()


class ResNet45(nn.Module):
    """Images (batch, 3, 32, 128) to features (batch, 512, 8, 32)."""

    def __init__(self, depths: tuple[int, ...] = DEPTHS):
        super().__init__()
        inputs = CHANNELS[0]
        self.conv1 = nn.Conv2d(3, inputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        stages = zip(CHANNELS, depths, STRIDES, strict=True)
        for index, (channels, depth, stride) in enumerate(stages, 1):
            blocks = [Block(channels, channels, 1) for _ in range(depth - 1)]
            stage = nn.Sequential(Block(inputs, channels, stride), *blocks)
            self.add_module(f"layer{index}", stage)
            inputs = channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(images)).relu()
        for index in range(1, len(CHANNELS) + 1):
            x = self.get_submodule(f"layer{index}")(x)
        return x

"""The frame around the blocks of TSRN, TBSRN and TPGSR in PyTorch: SRResNet x2, and their STN."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.torch_networks.stn import STN

CHANNELS, BLOCKS = 64, 5


class ConvPair(nn.Module):
    """3x3 convolution, BatchNorm, Mish, 3x3 convolution, BatchNorm; the start of every block."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(CHANNELS)
        self.mish = nn.Mish()
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(CHANNELS)

    def convs(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn2(self.conv2(self.mish(self.bn1(self.conv1(x)))))


class SRResNet(nn.Module):
    """Images (batch, C, 16, 64) in [0, 1] to (batch, C, 32, 128), not clipped; C is 3 or 4.

    As published, evaluation skips the STN: `net(net.stn(lr)[1])` does not.
    """

    def __init__(self, block: Callable[[], nn.Module], image_channels: int = 3):
        super().__init__()
        head = nn.Conv2d(image_channels, CHANNELS, 9, padding=4)
        self.block1 = nn.Sequential(head, nn.PReLU())
        for index in range(BLOCKS):
            self.add_module(f"block{index + 2}", block())
        conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.block7 = nn.Sequential(conv, nn.BatchNorm2d(CHANNELS))
        conv = nn.Conv2d(CHANNELS, 4 * CHANNELS, 3, padding=1)
        upsample = OrderedDict(conv=conv, shuffle=nn.PixelShuffle(2), mish=nn.Mish())
        self.block8 = nn.Sequential(
            nn.Sequential(upsample),
            nn.Conv2d(CHANNELS, image_channels, 9, padding=4),
            nn.Tanh(),
        )
        self.stn_head = STN(image_channels)

    def stn(self, lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The STN's control points (batch, 20, 2), and the images rectified."""
        return self.stn_head(lr)

    def forward(self, lr: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        head = x = self.block1(lr)
        for index in range(BLOCKS):
            x = self.get_submodule(f"block{index + 2}")(x, *beside)
        return self.block8(head + self.block7(x))

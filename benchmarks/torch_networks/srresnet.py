"""The frame around the blocks of TSRN and its kin in PyTorch: SRResNet x2, and their STN."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.torch_networks.stn import STN

CHANNELS, BLOCKS = 64, 5


def with_mask(lr: torch.Tensor) -> torch.Tensor:
    """RGB in [0, 1] and, as a fourth channel, the mask of dark pixels, from 8-bit values."""
    levels = torch.round(255 * lr).int()
    weights = torch.tensor([19595, 38470, 7471]).view(1, 3, 1, 1)
    gray = ((levels * weights).sum(1, keepdim=True) + 0x8000 >> 16).float()
    mask = (gray <= gray.mean((1, 2, 3), keepdim=True)).float()
    return torch.cat([lr, mask], dim=1)


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

    def __init__(
        self, block: Callable[[], nn.Module], image_channels: int = 3, blocks: int = BLOCKS
    ):
        super().__init__()
        self.blocks = blocks
        head = nn.Conv2d(image_channels, CHANNELS, 9, padding=4)
        self.block1 = nn.Sequential(head, nn.PReLU())
        for index in range(blocks):
            self.add_module(f"block{index + 2}", block())
        conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.add_module(f"block{blocks + 2}", nn.Sequential(conv, nn.BatchNorm2d(CHANNELS)))
        conv = nn.Conv2d(CHANNELS, 4 * CHANNELS, 3, padding=1)
        upsample = OrderedDict(conv=conv, shuffle=nn.PixelShuffle(2), mish=nn.Mish())
        tail = nn.Conv2d(CHANNELS, image_channels, 9, padding=4)
        upsample = nn.Sequential(nn.Sequential(upsample), tail, nn.Tanh())
        self.add_module(f"block{blocks + 3}", upsample)
        self.stn_head = STN(image_channels)

    def stn(self, lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The STN's control points (batch, 20, 2), and the images rectified."""
        return self.stn_head(lr)

    def forward(self, lr: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        head = x = self.block1(lr)
        beside = self.context(head, *beside)
        for index in range(self.blocks):
            x = self.get_submodule(f"block{index + 2}")(x, *beside)
        end, upsample = (self.get_submodule(f"block{self.blocks + n}") for n in (2, 3))
        return upsample(head + end(x))

    def context(self, head: torch.Tensor, *beside: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What every block is given besides the features."""
        return beside

"""TSRN in PyTorch, under the names of its published checkpoint."""

import torch
from torch import nn

from benchmarks.torch_networks.srresnet import CHANNELS, ConvPair, SRResNet


class GRUBlock(nn.Module):
    """A 1x1 convolution, then a bidirectional GRU along each row."""

    def __init__(self, inputs: int = CHANNELS):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, CHANNELS, 1)
        self.gru = nn.GRU(CHANNELS, CHANNELS // 2, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.conv1(x).permute(0, 2, 3, 1)
        states, _ = self.gru(rows.flatten(0, 1))
        return states.unflatten(0, rows.shape[:2]).permute(0, 3, 1, 2)


class SequentialBlock(ConvPair):
    """Two convolutions, then a GRU along the columns, the input, and a GRU along the rows."""

    def __init__(self):
        super().__init__()
        self.gru1, self.gru2 = GRUBlock(), GRUBlock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru2(x + self.gru1(self.convs(x).transpose(2, 3)).transpose(2, 3))


class TSRN(SRResNet):
    def __init__(self):
        super().__init__(SequentialBlock)

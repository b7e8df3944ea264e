"""TBSRN in PyTorch, under the names of its published checkpoint."""

import torch
from torch import nn

from benchmarks.torch_networks.attention import (
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    sinusoid_table,
)
from benchmarks.torch_networks.srresnet import CHANNELS, ConvPair, SRResNet
from benchmarks.torch_networks.stn import IMAGE_SIZE

WIDTH, HEADS = 2 * CHANNELS, 4


def position_table(height: int, width: int) -> torch.Tensor:
    """(height x width, 64): 32 channels tell the column, then 32 the row."""
    columns, rows = (sinusoid_table(size, CHANNELS // 2) for size in (width, height))
    columns, rows = columns.expand(height, -1, -1), rows[:, None].expand(-1, width, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1)


class FeatureEnhancer(nn.Module):
    """A transformer layer over all pixels, each with its place appended."""

    def __init__(self):
        super().__init__()
        self.register_buffer("places", position_table(*IMAGE_SIZE), persistent=False)
        self.multihead = MultiHeadAttention(WIDTH, HEADS)
        self.mul_layernorm1 = LayerNorm(WIDTH)
        self.pff = FeedForward(WIDTH, WIDTH)
        self.mul_layernorm3 = LayerNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([pixels, self.places.expand(len(x), -1, -1)], dim=2)
        tokens = self.mul_layernorm1(tokens + self.multihead(tokens, tokens, needs_maps=False)[0])
        tokens = self.mul_layernorm3(tokens + self.pff(tokens))
        return self.linear(tokens).transpose(1, 2).unflatten(2, x.shape[2:])


class AttentionBlock(ConvPair):
    """Two convolutions and the feature enhancer, added to the input."""

    def __init__(self):
        super().__init__()
        self.feature_enhancer = FeatureEnhancer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.feature_enhancer(self.convs(x))


class TBSRN(SRResNet):
    def __init__(self):
        super().__init__(AttentionBlock)

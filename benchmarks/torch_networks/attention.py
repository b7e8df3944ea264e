"""Attention, and the position table, of the networks that have them."""

import math

import torch
from torch import nn
from torch.nn import functional

_ENCODER_NAMES = ("self_attn", "norm1", "norm2")


def sinusoid_table(length: int, width: int) -> torch.Tensor:
    """Sines (even columns) and cosines (odd ones) of positions, float32 (length, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class LayerNorm(nn.Module):
    """With the unbiased standard deviation, and epsilon added to that, not to the variance."""

    def __init__(self, features: int):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(features))
        self.b_2 = nn.Parameter(torch.zeros(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return self.a_2 * centred / (x.std(-1, keepdim=True) + 1e-6) + self.b_2


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention: `x` (batch, steps, width) reads `memory`.

    The maps come too where they are needed; where not, PyTorch's fused attention is used, which the
    published code predates: it takes a third of the time.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        mask: torch.Tensor | None = None,
        needs_maps: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query, key, value = (
            linear(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for linear, tokens in zip(self.linears[:3], (x, memory, memory), strict=True)
        )
        if not needs_maps:
            read = functional.scaled_dot_product_attention(query, key, value, mask)
            return self.linears[3](read.transpose(1, 2).flatten(2)), None
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        attention = scores.softmax(-1)
        return self.linears[3]((attention @ value).transpose(1, 2).flatten(2)), attention


class FeedForward(nn.Module):
    """Linear, ReLU, linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w_2(self.w_1(x).relu())


class AttentionLayer(nn.Module):
    """PyTorch's attention and feed-forward, each added to its input and normalised afterwards.

    The names of the attention and of the norms are those of PyTorch's encoder, or of its decoder,
    whose attention to itself is left out.
    """

    def __init__(self, width: int, heads: int, hidden: int, *, decoder: bool):
        super().__init__()
        self.names = ("multihead_attn", "norm2", "norm3") if decoder else _ENCODER_NAMES
        attention, norm1, norm2 = self.names
        self.add_module(attention, nn.MultiheadAttention(width, heads, batch_first=True))
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.add_module(norm1, nn.LayerNorm(width))
        self.add_module(norm2, nn.LayerNorm(width))

    def forward(
        self,
        x: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        **masks: torch.Tensor,
    ) -> torch.Tensor:
        """Adds to `x` (batch, steps, width) what `query` finds; masks as of PyTorch's attention."""
        attention, norm1, norm2 = (self.get_submodule(name) for name in self.names)
        x = norm1(x + attention(query, key, value, need_weights=False, **masks)[0])
        return norm2(x + self.linear2(self.linear1(x).relu()))

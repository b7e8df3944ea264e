"""The text-focus recogniser in PyTorch, under the names of pretrain_transformer.pth."""

import itertools
import math
from collections import OrderedDict

import torch
from torch import nn

from benchmarks.torch_networks.attention import (
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    sinusoid_table,
)

STEM = (64, 128)
# Channels and number of blocks of each stage, and the width behind it.
STAGES = ((256, 1, 256), (256, 2, 256), (512, 5, 512), (512, 3, 1024))
WIDTH, HEADS, HIDDEN, EMBEDDING, CLASSES = 1024, 16, 2048, 512, 37


def conv_batch_norm(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)


class ResidualBlock(nn.Module):
    """Two convolutions, added to the input, which a third adapts where the channels change."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.bn1 = conv_batch_norm(inputs, outputs)
        self.conv2, self.bn2 = conv_batch_norm(outputs, outputs)
        adapted = conv_batch_norm(inputs, outputs) if inputs != outputs else ()
        self.downsample = nn.Sequential(*adapted)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (residual + self.downsample(x)).relu()


def convolutions() -> nn.Sequential:
    """Grey (batch, 1, 32, 128) to features (batch, 1024, 8, 32)."""
    layers = OrderedDict()
    inputs = 1
    for index, outputs in enumerate(STEM, 1):
        layers[f"conv{index}"], layers[f"bn{index}"] = conv_batch_norm(inputs, outputs)
        layers[f"relu{index}"], layers[f"pool{index}"] = nn.ReLU(), nn.MaxPool2d(2)
        inputs = outputs
    for stage, (channels, depth, outputs) in enumerate(STAGES, 1):
        sizes = [inputs] + [channels] * depth
        blocks = [ResidualBlock(*pair) for pair in itertools.pairwise(sizes)]
        layers[f"layer{stage}"] = nn.Sequential(*blocks)
        last = stage == len(STAGES)
        conv, bn = ("conv2", "conv2_bn") if last else ("conv", "bn")
        layers[f"layer{stage}_{conv}"], layers[f"layer{stage}_{bn}"] = conv_batch_norm(
            channels, outputs
        )
        layers[f"layer{stage}_relu"] = nn.ReLU()
        inputs = outputs
    return nn.Sequential(layers)


class FocusDecoder(nn.Module):
    """A transformer decoder layer; a residual sum and LayerNorm follow each of its three parts."""

    def __init__(self):
        super().__init__()
        self.mask_multihead = MultiHeadAttention(WIDTH, HEADS)
        self.mul_layernorm1 = LayerNorm(WIDTH)
        self.multihead = MultiHeadAttention(WIDTH, HEADS)
        self.mul_layernorm2 = LayerNorm(WIDTH)
        self.pff = FeedForward(WIDTH, HIDDEN)
        self.mul_layernorm3 = LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        x = self.mul_layernorm1(x + self.mask_multihead(x, x, causal)[0])
        read, attention = self.multihead(x, memory)
        x = self.mul_layernorm2(x + read)
        return self.mul_layernorm3(x + self.pff(x)), attention


class TextFocusRecognizer(nn.Module):
    """Reads words, each step told the characters before it, and tells where it looked.

    Takes grey images (batch, 1, 32, 128) in [0, 1] and tokens (batch, steps), the label behind a 0.
    Gives logits (batch, steps, 37) and attention maps (batch, 16, steps, 256), row by row.
    """

    def __init__(self):
        super().__init__()
        self.embedding_word = nn.ModuleDict({"lut": nn.Embedding(CLASSES, EMBEDDING)})
        self.encoder = nn.ModuleDict({"cnn": convolutions()})
        self.decoder = FocusDecoder()
        self.generator_word = nn.ModuleDict({"proj": nn.Linear(WIDTH, CLASSES)})

    def forward(
        self, gray: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        memory = self.encoder["cnn"](gray).flatten(2).transpose(1, 2)
        characters = self.embedding_word["lut"](tokens) * math.sqrt(EMBEDDING)
        positions = sinusoid_table(tokens.shape[1], WIDTH - EMBEDDING).to(characters)
        positions = positions.expand(len(tokens), -1, -1)
        x, attention = self.decoder(torch.cat([characters, positions], dim=2), memory)
        return self.generator_word["proj"](x), attention

"""ABINet's branches in PyTorch, under the names that LEMMA's published checkpoint has for them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_networks.attention import AttentionLayer, sinusoid_table
from benchmarks.torch_networks.resnet import DEPTHS, ResNet45

WIDTH, HEADS, HIDDEN, KEY_CHANNELS = 512, 8, 2048, 64
STEPS, CLASSES = 26, 37
ENCODER_LAYERS, DECODER_LAYERS = 3, 4
STRIDES = ((1, 2), (2, 2), (2, 2), (2, 2))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reading(NamedTuple):
    """Attention maps (batch, 26, 8, 32), logits (batch, 26, 37) of both branches, and lengths."""

    maps: torch.Tensor
    seen: torch.Tensor
    read: torch.Tensor
    lengths: torch.Tensor


class PositionAttention(nn.Module):
    """Each step looks at keys that a small U-Net makes of the features (batch, 512, 8, 32)."""

    def __init__(self):
        super().__init__()
        inputs = [WIDTH, *[KEY_CHANNELS] * 3]
        self.k_encoder = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(channels, KEY_CHANNELS, 3, stride, padding=1),
                    nn.BatchNorm2d(KEY_CHANNELS),
                    nn.ReLU(),
                )
                for channels, stride in zip(inputs, STRIDES, strict=True)
            )
        )
        outputs = [*[KEY_CHANNELS] * 3, WIDTH]
        self.k_decoder = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Upsample(scale_factor=stride),
                    nn.Conv2d(KEY_CHANNELS, channels, 3, padding=1),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                )
                for channels, stride in zip(outputs, reversed(STRIDES), strict=True)
            )
        )
        self.project = nn.Linear(WIDTH, WIDTH)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, passed = features, []
        for layer in self.k_encoder:
            keys = layer(keys)
            passed.append(keys)
        for layer, beside in zip(self.k_decoder, (*passed[-2::-1], 0), strict=True):
            keys = layer(keys) + beside
        scores = self.project(sinusoid_table(STEPS, WIDTH)) @ keys.flatten(2) / WIDTH**0.5
        attention = scores.softmax(-1)
        vectors = attention @ features.flatten(2).transpose(1, 2)
        return vectors, attention.unflatten(2, features.shape[2:])


class Vision(nn.Module):
    """Normalised images (batch, 3, 32, 128) to attention maps and logits."""

    def __init__(self, hidden: int, layers: int, depths: tuple[int, ...]):
        super().__init__()
        stack = nn.ModuleList(
            AttentionLayer(WIDTH, HEADS, hidden, decoder=False) for _ in range(layers)
        )
        self.backbone = nn.ModuleDict(
            {"resnet": ResNet45(depths), "transformer": nn.ModuleDict({"layers": stack})}
        )
        self.attention = PositionAttention()
        self.cls = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.backbone["resnet"](images)
        size, tokens = x.shape[2:], x.flatten(2).transpose(1, 2)
        tokens = tokens + sinusoid_table(tokens.shape[1], WIDTH)
        for layer in self.backbone["transformer"]["layers"]:
            tokens = layer(tokens, tokens, tokens, tokens)
        vectors, maps = self.attention(tokens.transpose(1, 2).unflatten(2, size))
        return maps, self.cls(vectors)


class Language(nn.Module):
    """Probabilities (batch, 26, 37) and lengths to corrected logits."""

    def __init__(self, hidden: int):
        super().__init__()
        self.proj = nn.Linear(CLASSES, WIDTH, bias=False)
        stack = nn.ModuleList(
            AttentionLayer(WIDTH, HEADS, hidden, decoder=True) for _ in range(DECODER_LAYERS)
        )
        self.model = nn.ModuleDict({"layers": stack})
        self.cls = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        positions = sinusoid_table(STEPS, WIDTH)
        memory = self.proj(tokens) + positions
        outside = torch.arange(STEPS) >= lengths[:, None]
        masks = {"attn_mask": torch.eye(STEPS, dtype=torch.bool), "key_padding_mask": outside}
        x = positions.expand(len(tokens), -1, -1)
        for layer in self.model["layers"]:
            x = layer(x, x, memory, memory, **masks)
        return self.cls(x)


class ABINet(nn.Module):
    """Reads images of words, (batch, 3, 32, 128) RGB in [0, 1].

    Args:
      hidden: the feed-forward size.
      layers: layers of the vision branch's encoder.
      depths: blocks in each stage of the backbone.
    """

    def __init__(
        self,
        hidden: int = HIDDEN,
        layers: int = ENCODER_LAYERS,
        depths: tuple[int, ...] = DEPTHS,
    ):
        super().__init__()
        self.vision, self.language = Vision(hidden, layers, depths), Language(hidden)

    def forward(self, images: torch.Tensor) -> Reading:
        mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, DEVIATION))
        maps, seen = self.vision((images - mean) / deviation)
        read = self.language(seen.softmax(-1), word_lengths(seen))
        return Reading(maps, seen, read, word_lengths(read))


def word_lengths(logits: torch.Tensor) -> torch.Tensor:
    """Steps of the likeliest words with their ends, 2 at least: (batch,)."""
    ends = logits.argmax(-1) == 0
    first = ends.int().argmax(1) + 1
    return torch.where(ends.any(1), first, STEPS).clamp(2, STEPS)


def enlarged(images: torch.Tensor) -> torch.Tensor:
    """Twice the size by bicubic, the corners on each other."""
    return F.interpolate(images, scale_factor=2, mode="bicubic", align_corners=True)

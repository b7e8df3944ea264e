"""CDistNet in PyTorch, under the names of its published checkpoint, and its published decoding.

Tokens are 0 pad, 1 unknown, 2 start, 3 end, then 0-9, a-z. All sequences are batch first.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_networks.attention import sinusoid_table
from benchmarks.torch_networks.resnet import CHANNELS, ResNet45

PAD, START, END, NUM_TOKENS = 0, 2, 3, 40
WIDTH, HEADS, ENCODER_HIDDEN, DECODER_HIDDEN = 512, 8, 2048, 1024
NUM_CONTROL_POINTS = 20
IMAGE_SIZE = (32, 128)


def spline_matrix() -> torch.Tensor:
    """Takes the control points to every pixel's source, float32 (pixels, 20)."""
    float64 = {"dtype": torch.float64}
    edge = torch.linspace(-1, 1, NUM_CONTROL_POINTS // 2, **float64)
    target = torch.stack([edge.repeat(2), edge[[0, -1]].repeat_interleave(len(edge))], dim=1)

    def representation(points: torch.Tensor, nudge: float) -> torch.Tensor:
        distance = (points[:, None] - target).norm(dim=2)
        radial = torch.special.xlogy(distance**2, distance + nudge)
        return torch.cat([torch.ones(len(points), 1), points, radial], dim=1)

    system = torch.zeros(NUM_CONTROL_POINTS + 3, NUM_CONTROL_POINTS + 3, **float64)
    system[:-3] = representation(target, 0)
    system[-3:-1, 3:], system[-1, 3:] = target.T, 1
    y, x = ((2 * torch.arange(size, **float64) + 1) / size - 1 for size in IMAGE_SIZE)
    y, x = torch.meshgrid(y, x, indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten()], dim=1)
    # Both factors rounded to float32, as published.
    basis, inverse = (a.float().double() for a in (representation(pixels, 1e-6), system.inverse()))
    return (basis @ inverse[:, :-3]).float()


class Localization(nn.Module):
    """Finds the control points (batch, 20, 2), x and y in [-1, 1]."""

    def __init__(self):
        super().__init__()
        layers = []
        for inputs, outputs in ((3, 64), (64, 128), (128, 256), (256, 512)):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.conv = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1))
        self.localization_fc1 = nn.Sequential(nn.Linear(512, 256), nn.ReLU())
        self.localization_fc2 = nn.Linear(256, 2 * NUM_CONTROL_POINTS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.localization_fc1(self.conv(images).flatten(1))
        return self.localization_fc2(features).unflatten(1, (-1, 2))


class Rectifier(nn.Module):
    """The rectifier of RARE: 20 control points bend a thin-plate spline."""

    def __init__(self):
        super().__init__()
        self.LocalizationNetwork = Localization()
        self.register_buffer("matrix", spline_matrix(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grid = (self.matrix @ self.LocalizationNetwork(images)).unflatten(1, IMAGE_SIZE)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


class Backbone(ResNet45):
    """Images (batch, 3, 32, 128) to features (batch, 64, 512), one column after another."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(CHANNELS[-1], WIDTH, 3, 2, padding=1)
        self.convbnrelu = nn.ModuleDict({"conv": conv, "bn": nn.BatchNorm2d(WIDTH)})

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = super().forward(images)
        x = self.convbnrelu["bn"](self.convbnrelu["conv"](x)).relu()
        return x.transpose(2, 3).flatten(2).transpose(1, 2)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution by its parameters, used as a linear layer on tokens (..., inputs)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(tokens, self.weight[:, :, 0, 0], self.bias)


class MultiheadAttention(nn.Module):
    """`x` (batch, steps, WIDTH) reads another stream, or itself; each way has its projections."""

    def __init__(self, reads_itself: bool):
        super().__init__()
        if reads_itself:
            self.conv3 = Pointwise(WIDTH, 3 * WIDTH)
        else:
            self.conv1, self.conv2 = Pointwise(WIDTH, WIDTH), Pointwise(WIDTH, 2 * WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(
        self, x: torch.Tensor, other: torch.Tensor | None, mask: torch.Tensor | None
    ) -> torch.Tensor:
        if other is None:
            parts = self.conv3(x).chunk(3, dim=2)
        else:
            parts = self.conv1(x), *self.conv2(other).chunk(2, dim=2)
        query, key, value = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)
        # The published code scales by the root of the head size twice: the query, then the scores.
        scores = query @ key.transpose(2, 3) / (WIDTH // HEADS)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return self.out_proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each added to its input and normalised afterwards."""

    def __init__(self):
        super().__init__()
        self.self_attn = MultiheadAttention(reads_itself=True)
        self.conv1, self.conv2 = Pointwise(WIDTH, ENCODER_HIDDEN), Pointwise(ENCODER_HIDDEN, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.self_attn(x, None, None))
        return self.norm2(x + self.conv2(self.conv1(x).relu()))


class DecoderLayer(nn.Module):
    """The same for a sub-layer of MDCDP, whose attention may read another stream."""

    def __init__(self, reads_itself: bool):
        super().__init__()
        self.multihead_attn = MultiheadAttention(reads_itself)
        self.linear1 = nn.Linear(WIDTH, DECODER_HIDDEN)
        self.linear2 = nn.Linear(DECODER_HIDDEN, WIDTH)
        self.norm2, self.norm3 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(
        self, x: torch.Tensor, other: torch.Tensor | None, mask: torch.Tensor | None
    ) -> torch.Tensor:
        x = self.norm2(x + self.multihead_attn(x, other, mask))
        return self.norm3(x + self.linear2(self.linear1(x).relu()))


class MDCDP(nn.Module):
    """Three layers in which the positional stream reads itself, the image and the text."""

    def __init__(self):
        super().__init__()
        self.layers_pos = nn.ModuleList(DecoderLayer(reads_itself=True) for _ in range(3))
        self.layers2 = nn.ModuleList(DecoderLayer(reads_itself=False) for _ in range(3))
        self.layers3 = nn.ModuleList(DecoderLayer(reads_itself=False) for _ in range(3))
        self.dynamic_shared_fusion = nn.ModuleDict({"w_att": nn.Linear(2 * WIDTH, WIDTH)})

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, semantic: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        layers = zip(self.layers_pos, self.layers2, self.layers3, strict=True)
        for read_position, read_image, read_text in layers:
            x = read_position(x, None, mask)
            seen, read = read_image(x, memory, None), read_text(x, semantic, mask)
            gate = self.dynamic_shared_fusion["w_att"](torch.cat([seen, read], dim=2)).sigmoid()
            x = gate * read + (1 - gate) * seen
        return x


class PositionalBranch(nn.Module):
    """The position table (..., WIDTH) through a small residual network."""

    def __init__(self):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return self.norm2(positions + self.linear2(self.linear1(positions).relu()))


class Words(NamedTuple):
    """The best beam of each word: tokens (batch, steps), pads behind them, lengths and scores.

    The end token counts; a score is the sum of the tokens' log probabilities.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    scores: torch.Tensor


class CDistNet(nn.Module):
    """Reads words from RGB images (batch, 3, 32, 128) of values pixel / 128 - 1."""

    def __init__(self):
        super().__init__()
        layers = nn.ModuleList(EncoderLayer() for _ in range(3))
        self.visual_branch = nn.ModuleDict(
            {
                "transform": Rectifier(),
                "backbone": Backbone(),
                "trans_encoder": nn.ModuleDict({"layers": layers}),
            }
        )
        embedding = nn.ModuleDict({"embedding": nn.Embedding(NUM_TOKENS, WIDTH)})
        self.semantic_branch = nn.ModuleDict({"embedding": embedding})
        self.positional_branch = PositionalBranch()
        self.mdcdp = MDCDP()
        self.tgt_word_prj = nn.Linear(WIDTH, NUM_TOKENS, bias=False)

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (batch, length, 40) of each next token, the start token being the first one."""
        return self.decode(self.encode(images), tokens)

    def control_points(self, images: torch.Tensor) -> torch.Tensor:
        """The rectifier's points (batch, 20, 2), x and y in [-1, 1]."""
        return self.visual_branch["transform"].LocalizationNetwork(images)

    def rectify(self, images: torch.Tensor) -> torch.Tensor:
        """Images as the backbone sees them."""
        return self.visual_branch["transform"](images)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """The visual memory (batch, 64, 512)."""
        return self.encode_rectified(self.rectify(images))

    def encode_rectified(self, images: torch.Tensor) -> torch.Tensor:
        """The visual memory of what `rectify` returns."""
        x = self.visual_branch["backbone"](images)
        x = x + sinusoid_table(x.shape[1], WIDTH).to(x)
        for layer in self.visual_branch["trans_encoder"]["layers"]:
            x = layer(x)
        return x

    def decode(self, memory: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (batch, length, 40) of tokens (batch, length) read against `encode`'s memory."""
        length = tokens.shape[1]
        table = sinusoid_table(length, WIDTH).to(memory)
        embedding = self.semantic_branch["embedding"]["embedding"]
        semantic = embedding(tokens) * math.sqrt(WIDTH) + table
        x = self.positional_branch(table.expand(semantic.shape))
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        mask = (tokens != PAD)[:, None, None] & causal
        return self.tgt_word_prj(self.mdcdp(x, memory, semantic, mask))

    @torch.no_grad()
    def read(self, images: torch.Tensor, beams: int = 10, steps: int = 49) -> Words:
        """Reads words by the published beam search.

        Every step reads the whole prefix of all beams again. A word is done when its best beam
        ends, and drops out; scores are not normalised by length.
        """
        memory = self.encode(images).repeat_interleave(beams, dim=0)
        active = torch.arange(len(images), device=images.device)
        words = Words(
            tokens=active.new_zeros(len(images), steps),
            lengths=torch.zeros_like(active),
            scores=images.new_zeros(len(images)),
        )
        prefixes = active.new_full((len(images), beams, 1), START)
        # All beams start alike: the first one alone counts.
        scores = images.new_full((len(images), beams), -torch.inf)
        scores[:, 0] = 0
        for length in range(1, steps + 1):
            logits = self.decode(memory, prefixes.flatten(0, 1))[:, -1]
            gains = logits.log_softmax(-1).unflatten(0, (-1, beams))
            scores, best = (scores[:, :, None] + gains).flatten(1).topk(beams)
            beam, token = best // NUM_TOKENS, best % NUM_TOKENS
            prefixes = prefixes.gather(1, beam[:, :, None].expand(-1, -1, length))
            prefixes = torch.cat([prefixes, token[:, :, None]], dim=2)
            words.tokens[active, :length] = prefixes[:, 0, 1:]
            words.lengths[active], words.scores[active] = length, scores[:, 0]
            goes_on = token[:, 0] != END
            if not goes_on.any():
                break
            active, prefixes, scores = active[goes_on], prefixes[goes_on], scores[goes_on]
            memory = memory[goes_on.repeat_interleave(beams)]
        return words

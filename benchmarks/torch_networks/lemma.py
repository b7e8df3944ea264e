"""LEMMA with its ABINet in PyTorch, under the names of its published checkpoint."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_networks.abinet import CLASSES, STEPS, ABINet, Reading, enlarged
from benchmarks.torch_networks.attention import AttentionLayer, sinusoid_table
from benchmarks.torch_networks.srresnet import BLOCKS, CHANNELS, ConvPair, SRResNet, with_mask
from benchmarks.torch_networks.stn import IMAGE_SIZE

HEADS, ENCODER_LAYERS, DECODER_LAYERS, SELECTED, NARROW = 4, 2, 3, 500, 32


class PlainGRU(nn.Module):
    """A bidirectional GRU along each row."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(CHANNELS, CHANNELS // 2, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.permute(0, 2, 3, 1)
        states, _ = self.gru(rows.flatten(0, 1))
        return states.unflatten(0, rows.shape[:2]).permute(0, 3, 1, 2)


def mixer(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, CHANNELS, 1),
        nn.BatchNorm2d(CHANNELS),
        nn.PReLU(),
        nn.Conv2d(CHANNELS, CHANNELS, 1),
    )


class Fusion(nn.Module):
    """Fuses features with guidance, both (batch, 64, 16, 64)."""

    def __init__(self):
        super().__init__()
        self.BN, self.BN2 = nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)
        self.conv1x1_1, self.conv1x1_2, self.conv1x1_3 = (mixer(2 * CHANNELS) for _ in range(3))
        first, second, third = (nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(3))
        self.channel_attn = nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS, IMAGE_SIZE, groups=CHANNELS),
            *(first, nn.ReLU(), second, nn.ReLU(), third, nn.Sigmoid()),
        )
        self.aggregation = mixer(CHANNELS)

    def forward(self, features: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
        both = torch.cat([features, self.BN(guidance)], dim=1)
        mixed = self.channel_attn(self.conv1x1_1(both)) * self.conv1x1_2(both)
        return self.BN2(self.conv1x1_3(both) + self.aggregation(mixed))


class FusedBlock(ConvPair):
    """TSRN's block, with guidance fused into the residual before the GRUs."""

    def __init__(self):
        super().__init__()
        self.affine = Fusion()
        self.gru1, self.gru2 = PlainGRU(), PlainGRU()
        self.BN = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
        residual = self.affine(self.convs(x), guidance)
        return self.gru2(self.BN(x + self.gru1(residual.transpose(2, 3)).transpose(2, 3)))


class Guidance(nn.Module):
    """What ABINet read, and where, to features of every pixel, (batch, 64, 16, 64)."""

    def __init__(self):
        super().__init__()

        def conv(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)

        def layers(count: int, *, decoder: bool) -> nn.ModuleDict:
            stack = (
                AttentionLayer(CHANNELS, HEADS, CHANNELS, decoder=decoder) for _ in range(count)
            )
            return nn.ModuleDict({"layers": nn.ModuleList(stack)})

        self.attn_conv = nn.Sequential(
            *(conv(1, NARROW), nn.BatchNorm2d(NARROW), nn.PReLU()),
            *(conv(NARROW, CHANNELS), nn.BatchNorm2d(CHANNELS), nn.PReLU()),
            conv(CHANNELS, CHANNELS),
        )
        self.DWC = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.text_proj = nn.Linear(CLASSES, CHANNELS, bias=False)
        self.text_Encoder = layers(ENCODER_LAYERS, decoder=False)
        self.text_decoder = layers(DECODER_LAYERS, decoder=True)
        self.sematic_decoder = layers(DECODER_LAYERS, decoder=True)

    def forward(self, head: torch.Tensor, reading: Reading) -> torch.Tensor:
        maps = enlarged(reading.maps)
        inside = (torch.arange(STEPS) < reading.lengths[:, None])[:, :, None, None]
        locations = (maps * inside).amax(1, keepdim=True)
        weights = self.attn_conv(locations).flatten(2).softmax(-1).unflatten(2, IMAGE_SIZE)
        tokens = self.DWC(F.instance_norm(head) * weights).flatten(2).transpose(1, 2)
        positions = sinusoid_table(tokens.shape[1], CHANNELS)
        tokens = tokens + positions
        chosen = locations.flatten(1).topk(SELECTED).indices[:, :, None].expand(-1, -1, CHANNELS)
        letters = tokens.gather(1, chosen)
        text = self.text_proj(reading.read) + maps.flatten(2) @ positions
        for layer in self.text_Encoder["layers"]:
            text = layer(text, text, text, text)
        keys = text
        for layer in self.text_decoder["layers"]:
            keys = layer(keys, keys, letters, letters)
        x = torch.zeros_like(tokens).scatter(1, chosen, letters)
        for layer in self.sematic_decoder["layers"]:
            x = layer(x, x, keys, text)
        return x.transpose(1, 2).unflatten(2, IMAGE_SIZE)


class LEMMA(SRResNet):
    """RGB (batch, 3, 16, 64) in [0, 1] to RGB and a mask, (batch, 4, 32, 128), not clipped.

    Args:
      blocks: number of blocks.
      sizes: arguments of `ABINet`.
    """

    def __init__(self, blocks: int = BLOCKS, **sizes: object):
        super().__init__(FusedBlock, image_channels=4, blocks=blocks)
        self.guidanceGen = Guidance()
        self.position_prior = ABINet(**sizes)

    def context(self, head: torch.Tensor, *beside: Reading) -> tuple[torch.Tensor, ...]:
        return (self.guidanceGen(head, *beside),)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return super().forward(with_mask(lr), self.position_prior(enlarged(lr)))

"""TATT in PyTorch, under the names of `textsr_jax.convert.tatt`."""

import functools

import torch
from torch import nn

from benchmarks.torch_networks.attention import AttentionLayer, sinusoid_table
from benchmarks.torch_networks.crnn import CLASSES, CRNN
from benchmarks.torch_networks.srresnet import CHANNELS, SRResNet, with_mask
from benchmarks.torch_networks.stn import IMAGE_SIZE
from benchmarks.torch_networks.tpgsr import GuidedBlock, text_prior

HEADS, ENCODER_LAYERS, DECODER_LAYERS = 4, 1, 2


class Interpreter(nn.Module):
    """A prior (26, batch, 37) to features of every pixel, (batch, 64, 16, 64)."""

    def __init__(self):
        super().__init__()
        height, columns = IMAGE_SIZE
        self.fc_in, self.activation = nn.Linear(CLASSES, CHANNELS), nn.PReLU()
        self.init_factor = nn.Embedding(height * columns, CHANNELS)

        def layers(count: int, *, decoder: bool) -> nn.ModuleList:
            return nn.ModuleList(
                AttentionLayer(CHANNELS, HEADS, CHANNELS, decoder=decoder) for _ in range(count)
            )

        column = height * CHANNELS
        self.transformer = nn.ModuleDict(
            {
                "gru_encoding": nn.GRU(column, column // 2, bidirectional=True),
                "encoder": nn.ModuleDict({"layers": layers(ENCODER_LAYERS, decoder=False)}),
                "decoder": nn.ModuleDict(
                    {
                        "layers": layers(DECODER_LAYERS, decoder=True),
                        "norm": nn.LayerNorm(CHANNELS),
                    }
                ),
            }
        )

    def queries(self, batch: int) -> torch.Tensor:
        """The learned part of the pixels' queries, (batch, pixels, 64).

        As published, its GRU runs along the images of the batch.
        """
        places = self.init_factor.weight.unflatten(0, IMAGE_SIZE).transpose(0, 1).flatten(1)
        made, _ = self.transformer["gru_encoding"](places.expand(batch, -1, -1))
        return made.unflatten(2, (IMAGE_SIZE[0], CHANNELS)).transpose(1, 2).flatten(1, 2)

    def forward(self, head: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        frames = memory = self.activation(self.fc_in(prior.transpose(0, 1)))
        positions = sinusoid_table(frames.shape[1], CHANNELS)
        for layer in self.transformer["encoder"]["layers"]:
            # As published, the first layer gets twice the frames.
            memory = memory + frames
            keys = memory + positions
            memory = layer(memory, keys, keys, memory)
        x, queries = head.flatten(2).transpose(1, 2), self.queries(len(head))
        keys, found = memory + positions, []
        for layer in self.transformer["decoder"]["layers"]:
            x = layer(x, x + queries, keys, memory)
            found.append(self.transformer["decoder"]["norm"](x))
        return torch.stack(found).mean(0).transpose(1, 2).unflatten(2, IMAGE_SIZE)


class TATT(SRResNet):
    """RGB (batch, 3, 16, 64) in [0, 1] to RGB and a mask, (batch, 4, 32, 128), not clipped."""

    def __init__(self):
        super().__init__(functools.partial(GuidedBlock, CHANNELS), image_channels=4)
        self.infoGen = Interpreter()
        self.prior = nn.ModuleList([CRNN()])

    def context(self, head: torch.Tensor, *beside: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.infoGen(head, *beside),)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return super().forward(with_mask(lr), text_prior(self.prior[0], lr))

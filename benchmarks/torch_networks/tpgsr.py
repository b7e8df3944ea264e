"""TPGSR of one stage in PyTorch, under the names of `textsr_jax.convert.tpgsr`."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_networks.crnn import CLASSES, CRNN
from benchmarks.torch_networks.srresnet import CHANNELS, ConvPair, SRResNet, with_mask
from benchmarks.torch_networks.tsrn import GRUBlock

PRIOR_CHANNELS = 32


def text_prior(recognizer: CRNN, lr: torch.Tensor) -> torch.Tensor:
    """The probabilities (26, batch, 37) that the recogniser gives for LR images."""
    resized = F.interpolate(lr, (32, 100), mode="bicubic")
    gray = 0.299 * resized[:, :1] + 0.587 * resized[:, 1:2] + 0.114 * resized[:, 2:]
    return recognizer(gray).softmax(-1)


class GuidedBlock(ConvPair):
    """TSRN's block, whose GRU along the columns reads the interpreted prior too."""

    def __init__(self, prior_channels: int = PRIOR_CHANNELS):
        super().__init__()
        self.gru1, self.gru2 = GRUBlock(CHANNELS + prior_channels), GRUBlock()

    def forward(self, x: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        residual = torch.cat([self.convs(x), prior], dim=1)
        return self.gru2(x + self.gru1(residual.transpose(2, 3)).transpose(2, 3))


class Interpreter(nn.Module):
    """A prior (batch, 37, 1, 26) to features (batch, 32, 1, 203)."""

    def __init__(self):
        super().__init__()
        widths = (CLASSES, 512, 128, 64, PRIOR_CHANNELS)
        for index in range(4):
            stride, padding = (2, 1) if index < 3 else ((2, 1), (1, 0))
            conv = nn.ConvTranspose2d(
                widths[index], widths[index + 1], 3, stride, padding=padding, bias=False
            )
            self.add_module(f"tconv{index + 1}", conv)
            self.add_module(f"bn{index + 1}", nn.BatchNorm2d(widths[index + 1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index in range(1, 5):
            conv, bn = self.get_submodule(f"tconv{index}"), self.get_submodule(f"bn{index}")
            x = F.relu(bn(conv(x)))
        return x


class TPGSR(SRResNet):
    """RGB (batch, 3, 16, 64) in [0, 1] to RGB and a mask, (batch, 4, 32, 128), not clipped."""

    def __init__(self):
        super().__init__(GuidedBlock, image_channels=4)
        self.infoGen = Interpreter()
        self.prior = nn.ModuleList([CRNN()])

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        prior = text_prior(self.prior[0], lr)
        features = self.infoGen(prior.permute(1, 2, 0)[:, :, None])
        features = F.interpolate(features, lr.shape[2:], mode="bilinear", align_corners=True)
        return super().forward(with_mask(lr), features)

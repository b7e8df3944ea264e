"""CRNN in PyTorch, under the names of the published crnn.pth."""

from collections import OrderedDict

import torch
from torch import nn

CHANNELS = (64, 128, 256, 256, 512, 512, 512)
HIDDEN, CLASSES = 256, 37
NORMALIZED = (2, 4, 6)
POOLING = {0: nn.MaxPool2d(2), 1: nn.MaxPool2d(2)} | dict.fromkeys(
    (3, 5), nn.MaxPool2d(2, (2, 1), (0, 1))
)


class RecurrentLayer(nn.Module):
    """A bidirectional LSTM, and a linear layer on both directions' states."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.rnn = nn.LSTM(inputs, HIDDEN, bidirectional=True)
        self.embedding = nn.Linear(2 * HIDDEN, outputs)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        return self.embedding(self.rnn(sequence)[0])


class CRNN(nn.Module):
    """Grey (batch, 1, 32, 100) in [0, 1] to logits (26, batch, 37); class 0 is CTC's blank."""

    def __init__(self):
        super().__init__()
        layers = OrderedDict()
        for index, (inputs, outputs) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False)):
            size, padding = (2, 0) if index == 6 else (3, 1)
            layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, size, padding=padding)
            if index in NORMALIZED:
                layers[f"batchnorm{index}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{index}"] = nn.ReLU()
            if index in POOLING:
                layers[f"pooling{index}"] = POOLING[index]
        self.cnn = nn.Sequential(layers)
        self.rnn = nn.Sequential(
            RecurrentLayer(CHANNELS[-1], HIDDEN), RecurrentLayer(HIDDEN, CLASSES)
        )

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.rnn(self.cnn(gray).squeeze(2).permute(2, 0, 1))

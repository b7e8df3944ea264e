"""FLOPs that the table of networks tells are those of a count by hand."""

import torch
from torch import nn

from benchmarks import networks


def test_flops_are_those_of_convolutions_recurrent_layers_and_attention():
    convolution = nn.Conv2d(3, 8, 3, padding=1)
    recurrent = nn.GRU(6, 5)
    query = torch.ones(1, 2, 7, 4)

    def forward():
        with torch.no_grad():
            convolution(torch.ones(2, 3, 16, 64))
            recurrent(torch.ones(10, 2, 6))
            nn.functional.scaled_dot_product_attention(query, query, query)

    convolved = 2 * 2 * 16 * 64 * 8 * 3 * 9
    # Three gates, from the input and from the state, for 10 steps of 2.
    gates = 2 * 10 * 2 * 3 * 5 * (6 + 5)
    attended = 2 * 2 * (7 * 7 * 4) * 2
    sides = networks.Sides(lambda: None, forward)
    assert networks.gflop(sides) * 1e9 == convolved + gates + attended

"""The STN of TBSRN, TSRN and TPGSR in PyTorch: a thin-plate-spline rectifier."""

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS = (32, 64, 128, 256, 256, 256)
NUM_CONTROL_POINTS = 20
IMAGE_SIZE = (16, 64)


def _radial(points: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    # 0.5 r^2 log r^2 between all pairs, 0 at r = 0.
    squared = ((points[:, None] - targets) ** 2).sum(2)
    return 0.5 * torch.special.xlogy(squared, squared)


def spline_matrix() -> torch.Tensor:
    """Takes the control points to every pixel's source: float32 (pixels, 20), solved in float64."""
    row = torch.linspace(0.05, 0.95, NUM_CONTROL_POINTS // 2, dtype=torch.float64)
    y = torch.tensor([0.05, 0.95], dtype=torch.float64).repeat_interleave(len(row))
    targets = torch.stack([row.repeat(2), y], dim=1)

    def representation(points: torch.Tensor) -> torch.Tensor:
        return torch.cat([_radial(points, targets), torch.ones(len(points), 1), points], dim=1)

    system = torch.zeros(NUM_CONTROL_POINTS + 3, NUM_CONTROL_POINTS + 3, dtype=torch.float64)
    system[:-3] = representation(targets)
    system[-3:, :-3] = system[:-3, -3:].T
    rows, columns = (torch.linspace(0, 1, size, dtype=torch.float64) for size in IMAGE_SIZE)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten()], dim=1)
    return (representation(pixels) @ system.inverse()[:, :-3]).float()


class STN(nn.Module):
    """Straightens images (batch, image channels, 16, 64)."""

    def __init__(self, image_channels: int):
        super().__init__()
        layers = []
        for inputs, outputs in zip((image_channels, *CHANNELS), CHANNELS, strict=False):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers += [nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())]
            layers += [nn.MaxPool2d(2 if len(layers) < 8 else (1, 2))]
        self.stn_convnet = nn.Sequential(*layers[:-1])
        self.stn_fc1 = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU())
        self.stn_fc2 = nn.Linear(512, 2 * NUM_CONTROL_POINTS)
        self.register_buffer("matrix", spline_matrix(), persistent=False)

    def control_points(self, images: torch.Tensor) -> torch.Tensor:
        """Points (batch, 20, 2), x and y in [0, 1]: the upper border, then the lower one."""
        features = self.stn_fc1(self.stn_convnet(images).flatten(1))
        return self.stn_fc2(0.1 * features).unflatten(1, (-1, 2))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The control points, and the images rectified by them."""
        points = self.control_points(images)
        source = (self.matrix @ points).clamp(0, 1).unflatten(1, IMAGE_SIZE)
        return points, F.grid_sample(images, 2 * source - 1, align_corners=True)

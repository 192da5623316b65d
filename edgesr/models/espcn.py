"""ESPCN: the network that introduced pixel shuffle.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016: three convolutions at low resolution (5x5 to 64, 3x3 to
32, 3x3 to scale^2), tanh between them, luma only, no skip (section 3.2).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Paper, register


class ESPCN(nn.Module):
    """`5x5 -> tanh -> (3x3 -> tanh) x blocks -> 3x3 -> pixel shuffle -> clip`, on luma.

    Args:
        scale: enlargement.
        channels: width of the first convolution; each later one has half of the one before.
        blocks: 3x3 convolutions with tanh after the first.
    """

    def __init__(self, scale: int, channels: int = 64, blocks: int = 1) -> None:
        super().__init__()
        self.scale = scale
        widths = [channels >> i for i in range(blocks + 1)]
        self.head = nn.Conv2d(1, channels, 5, padding=2)
        self.body = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.tail = nn.Conv2d(widths[-1], scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.tanh(self.head(x))
        for conv in self.body:
            features = torch.tanh(conv(features))
        image = F.pixel_shuffle(self.tail(features), self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel "
    "Convolutional Neural Network",
    "CVPR 2016",
    "https://arxiv.org/abs/1609.05158",
)


@register(
    "espcn",
    paper=_PAPER,
    scales=(2, 3, 4),
    parameters={2: 21_000, 4: 25_000},
    tolerance=0.02,
    colour="y",
)
def espcn(scale: int) -> nn.Module:
    return ESPCN(scale)

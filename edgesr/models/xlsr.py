"""XLSR: grouped convolutions and a clipped output, winner of the Mobile AI 2021 challenge.

Ayazoglu, "Extremely Lightweight Quantization Robust Real-Time Single-Image Super Resolution for
Mobile Devices", CVPR Workshops 2021: four parallel 3x3 convolutions of 8 channels, three blocks
of grouped 3x3 and 1x1 convolutions, a concatenated 3x3 branch of the input instead of an addition,
and ReLU clipped to 1 at the end, without which int8 loses decibels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Paper, register


class GroupedBlock(nn.Module):
    """The paper's Gblock: grouped 3x3 -> ReLU -> 1x1, which mixes the groups."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(F.relu(self.grouped(x)))
        return mixed


class XLSR(nn.Module):
    """`heads -> 1x1 -> blocks -> concat with 3x3(x) -> 1x1, ReLU -> 3x3 -> clip -> pixel shuffle`.

    Args:
        scale: enlargement.
        channels: width of the blocks; the input's own branch has half of it.
        blocks: number of grouped blocks.
        groups: parallel head convolutions, and groups of the blocks' 3x3 convolutions.
    """

    def __init__(self, scale: int, channels: int = 32, blocks: int = 3, groups: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.heads = nn.ModuleList(
            nn.Conv2d(3, channels // groups, 3, padding=1) for _ in range(groups)
        )
        self.mix = nn.Conv2d(channels, channels, 1)
        self.body = nn.Sequential(*(GroupedBlock(channels, groups) for _ in range(blocks)))
        self.skip = nn.Conv2d(3, channels // 2, 3, padding=1)
        self.join = nn.Conv2d(channels + channels // 2, channels, 1)
        self.tail = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # A tenth of He's variance, so that the clip is not met at the start.
                fan_out = module.weight[0, 0].numel() * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(0.2 / fan_out))
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        features = torch.cat([F.relu(head(x)) for head in self.heads], dim=1)
        features = self.body(self.mix(features))
        features = F.relu(self.join(torch.cat([features, self.skip(x)], dim=1)))
        # The clip belongs to the network: it is trained with it.
        return F.pixel_shuffle(self.tail(features).clamp(0.0, 1.0), self.scale)


_PAPER = Paper(
    "Extremely Lightweight Quantization Robust Real-Time Single-Image Super Resolution for "
    "Mobile Devices",
    "CVPR Workshops 2021",
    "https://arxiv.org/abs/2105.10288",
)


@register("xlsr", paper=_PAPER, scales=(2, 3, 4), parameters={3: 21_947})
def xlsr(scale: int) -> nn.Module:
    return XLSR(scale)

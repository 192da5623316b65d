"""RFDN: feature distillation with 1x1 convolutions beside shallow residual blocks.

Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution", ECCV
Workshops 2020. Registered is the network of the AIM 2020 challenge, which it won and whose
weights are published (50 channels, 4 blocks, 433 K); the 550 K of the paper's table belong to an
unpublished one of 48 channels and 6 blocks. Works on 0..255.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.esa import ESA
from edgesr.models.registry import Paper, register

_SLOPE = 0.05


class RFDB(nn.Module):
    """Residual feature distillation block (figure 3c).

    Three steps, each handing half the channels to the end and a residual to the next step; then
    a last convolution, a 1x1 mix of all four parts and spatial attention.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.distil = nn.ModuleList(nn.Conv2d(channels, half, 1) for _ in range(3))
        self.refine = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.last = nn.Conv2d(channels, half, 3, padding=1)
        self.mix = nn.Conv2d(4 * half, channels, 1)
        self.attention = ESA(channels, reduced=channels // 4, inner=3)

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for distil, refine in zip(self.distil, self.refine, strict=True):
            parts.append(F.leaky_relu(distil(x), _SLOPE))
            x = F.leaky_relu(refine(x) + x, _SLOPE)
        parts.append(F.leaky_relu(self.last(x), _SLOPE))
        mixed: Tensor = self.attention(self.mix(torch.cat(parts, dim=1)))
        return mixed


class RFDN(nn.Module):
    """`head -> RFDB x blocks, all gathered -> fuse -> + head -> upsample`; sides of at least 15.

    Args:
        scale: enlargement.
        channels: width of the features.
        blocks: distillation blocks.
    """

    def __init__(self, scale: int, channels: int = 50, blocks: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(RFDB(channels) for _ in range(blocks))
        self.gather = nn.Conv2d(blocks * channels, channels, 1)
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = features = self.head(x)
        gathered = []
        for block in self.blocks:
            features = block(features)
            gathered.append(features)
        deep = F.leaky_relu(self.gather(torch.cat(gathered, dim=1)), _SLOPE)
        image = F.pixel_shuffle(self.upsample(self.fuse(deep) + shallow), self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else torch.clamp(image, 0.0, 255.0)


_PAPER = Paper(
    "Residual Feature Distillation Network for Lightweight Image Super-Resolution",
    "ECCV Workshops 2020",
    "https://arxiv.org/abs/2009.11551",
)


@register(
    "rfdn",
    paper=_PAPER,
    scales=(2, 3, 4),
    parameters={4: 433_448},
    value_range=255.0,
    exact_tiling=False,
)
def rfdn(scale: int) -> nn.Module:
    return RFDN(scale)

"""RLFN: residual local feature blocks, three plain convolutions and a slim spatial attention.

Kong et al., "Residual Local Feature Network for Efficient Super-Resolution", CVPR Workshops 2022,
winner of the NTIRE 2022 efficient super-resolution challenge (runtime track). Works on 0..255.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.esa import ESA
from edgesr.models.registry import Paper, register

_SLOPE = 0.05


class RLFB(nn.Module):
    """`x -> (conv, leaky ReLU) x 3 -> + x -> 1x1 convolution -> spatial attention` (figure 3).

    Args:
        channels: width outside.
        middle: width of the first two convolutions; pruned networks have another one here.
    """

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        widths = [channels, middle, middle, channels]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.mix = nn.Conv2d(channels, channels, 1)
        self.attention = ESA(channels, reduced=16, inner=1)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in self.convs:
            features = F.leaky_relu(conv(features), _SLOPE)
        mixed: Tensor = self.attention(self.mix(features + x))
        return mixed


class RLFN(nn.Module):
    """`head -> RLFB x blocks -> fuse -> + head -> upsample`; sides of at least 15 pixels.

    Args:
        scale: enlargement.
        channels: width of the features.
        blocks: residual local feature blocks.
        middle: width inside the blocks; None means `channels`.
    """

    def __init__(
        self, scale: int, channels: int = 52, blocks: int = 6, middle: int | None = None
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(RLFB(channels, middle or channels) for _ in range(blocks)))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        deep = self.fuse(self.blocks(shallow)) + shallow
        image = F.pixel_shuffle(self.upsample(deep), self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else torch.clamp(image, 0.0, 255.0)


_PAPER = Paper(
    "Residual Local Feature Network for Efficient Super-Resolution",
    "CVPR Workshops 2022",
    "https://arxiv.org/abs/2205.07514",
)


@register(
    "rlfn",
    paper=_PAPER,
    scales=(2, 4),
    parameters={2: 526_856, 4: 543_740},
    value_range=255.0,
    exact_tiling=False,
)
def rlfn(scale: int) -> nn.Module:
    return RLFN(scale)


@register(
    "rlfn-s",
    paper=_PAPER,
    scales=(2, 4),
    parameters={2: 454_620, 4: 470_208},
    value_range=255.0,
    exact_tiling=False,
)
def rlfn_s(scale: int) -> nn.Module:
    return RLFN(scale, channels=48)


@register(
    "rlfn-ntire",
    paper=_PAPER,
    scales=(4,),
    parameters={4: 317_218},
    value_range=255.0,
    exact_tiling=False,
)
def rlfn_ntire(scale: int) -> nn.Module:
    return RLFN(scale, channels=46, blocks=4, middle=48)

"""DRN: a U-shaped network with an image at every scale, trained with a way back.

Guo et al., "Closed-loop Matters: Dual Regression Networks for Single Image Super-Resolution", CVPR
2020, section 4.1 and appendix A. The enlarged input goes down to its own size by strided
convolutions and up again through residual channel-attention blocks; every level gives an image, and
each image but the smallest has a dual head that must turn it back into the one below. The heads
and the small images serve training (`edgesr.adapt.dual`): `forward` gives the largest image only,
so that an exported network has none of them. Works on 0..255.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesr.models.edsr import div2k_mean
from edgesr.models.mzsr import BicubicEnlargement
from edgesr.models.rcan import AttentionBlock
from edgesr.models.registry import Paper, register

_SLOPE = 0.2
"""Of the leaky ReLU in front of a reduction."""


def reduction(before: int, middle: int, after: int) -> nn.Sequential:
    """Half the size: `3x3, stride 2 -> leaky ReLU -> 3x3`, without biases."""
    return nn.Sequential(
        nn.Conv2d(before, middle, 3, stride=2, padding=1, bias=False),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(middle, after, 3, padding=1, bias=False),
    )


class Level(nn.Sequential):
    """Blocks, then twice the size with half of the narrower level's channels."""

    def __init__(self, channels: int, narrower: int, blocks: int) -> None:
        super().__init__(
            *(AttentionBlock(channels) for _ in range(blocks)),
            nn.Conv2d(channels, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(channels, narrower, 1),
        )


class DRN(nn.Module):
    """`enlarge -> head -> down ... down -> up ... up -> image`, with skips between equal sizes.

    Args:
        scale: 4 or 8, or any power of two.
        channels: at full size; each reduction doubles them.
        blocks: residual blocks per level.
    """

    mean: Tensor

    def __init__(self, scale: int, channels: int, blocks: int) -> None:
        super().__init__()
        phases = scale.bit_length() - 1
        self.scale = scale
        self.enlarge = BicubicEnlargement(scale)
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        widths = [channels << p for p in range(phases + 1)]
        self.down = nn.ModuleList(reduction(narrow, narrow, 2 * narrow) for narrow in widths[:-1])
        # Above the lowest level the features come with those of the way down: twice the channels.
        inputs = [widths[-1], *(2 * width for width in reversed(widths[1:-1]))]
        self.up = nn.ModuleList(
            Level(width, narrower, blocks)
            for width, narrower in zip(inputs, reversed(widths[:-1]), strict=True)
        )
        self.tails = nn.ModuleList(
            nn.Conv2d(width, 3, 3, padding=1) for width in [*inputs, 2 * channels]
        )
        self.register_buffer("mean", div2k_mean(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.tails[-1](self._levels(x)[-1]) + self.mean
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 255.0)

    def images(self, x: Tensor) -> list[Tensor]:
        """An image at the input's size, at twice that, and so on up to the full size."""
        levels = self._levels(x)
        return [tail(f) + self.mean for tail, f in zip(self.tails, levels, strict=True)]

    def _levels(self, x: Tensor) -> list[Tensor]:
        """What each tail reads, smallest size first."""
        features = self.head(self.enlarge(x) - self.mean)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(features)
        levels = [features]
        for up in self.up:
            features = torch.cat([up(features), skips.pop()], 1)
            levels.append(features)
        return levels


class DualHeads(nn.Module):
    """For each image but the smallest: back to the one of half its size, on any value range."""

    def __init__(self, scale: int, channels: int = 16) -> None:
        super().__init__()
        phases = scale.bit_length() - 1
        self.heads = nn.ModuleList(reduction(3, channels, 3) for _ in range(phases))

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        """`images` from small to large; the result lacks the largest size."""
        pairs = zip(self.heads, images[1:], strict=True)
        return [head(image) for head, image in pairs]


_PAPER = Paper(
    "Closed-loop Matters: Dual Regression Networks for Single Image Super-Resolution",
    "CVPR 2020",
    "https://arxiv.org/abs/2003.07018",
)
_SIZES = {("s", 4): (16, 30), ("s", 8): (8, 30), ("l", 4): (20, 40), ("l", 8): (10, 36)}
"""Channels and blocks of the authors' code."""


@register(
    "drn-s",
    paper=_PAPER,
    scales=(4, 8),
    parameters={4: 4_800_000, 8: 5_400_000},
    tolerance=0.005,
    value_range=255.0,
    exact_tiling=False,
)
def drn_s(scale: int) -> nn.Module:
    return DRN(scale, *_SIZES["s", scale])


@register(
    "drn-l",
    paper=_PAPER,
    scales=(4, 8),
    parameters={4: 9_800_000, 8: 10_000_000},
    tolerance=0.005,
    value_range=255.0,
    exact_tiling=False,
)
def drn_l(scale: int) -> nn.Module:
    return DRN(scale, *_SIZES["l", scale])

"""EDSR: residual blocks without batch norm; full, baseline, and MLPerf Mobile's F32B5.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops
2017. Works on 0..255. F32B5 is the network of MLPerf Mobile's super-resolution task
(mlcommons/mobile_models): 32 channels, 5 blocks, no mean shift, and a single convolution before
the pixel shuffle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Paper, register

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K's training images in [0, 1], subtracted at the input, added at the end."""


class ResidualBlock(nn.Module):
    """`x + scaling * conv(ReLU(conv(x)))` (figure 2c).

    Args:
        channels: width.
        kernel: side of both kernels.
        scaling: factor on the residual; 0.1 keeps the training of wide networks stable.
    """

    def __init__(self, channels: int, kernel: int = 3, scaling: float = 1.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(F.relu(self.first(x)))
        return x + (residual if self.scaling == 1.0 else residual * self.scaling)


class Upsampler(nn.Sequential):
    """`(conv, pixel shuffle)` once for x2 and x3, twice for x4, keeping the width."""

    def __init__(self, scale: int, channels: int) -> None:
        factors = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}[scale]
        layers: list[nn.Module] = []
        for factor in factors:
            layers += [
                nn.Conv2d(channels, channels * factor**2, 3, padding=1),
                nn.PixelShuffle(factor),
            ]
        super().__init__(*layers)


def div2k_mean() -> Tensor:
    """The mean colour in 0..255, shaped to be added to images."""
    return 255.0 * torch.tensor(DIV2K_MEAN)[None, :, None, None]


class EDSR(nn.Module):
    """`- mean -> head -> residual blocks -> fuse -> + head -> upsample -> tail -> + mean`.

    Args:
        scale: enlargement.
        channels: width of the features.
        blocks: residual blocks.
        scaling: residual scaling of the blocks.
    """

    mean: Tensor

    def __init__(
        self, scale: int, channels: int = 64, blocks: int = 16, scaling: float = 1.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(
            *(ResidualBlock(channels, scaling=scaling) for _ in range(blocks))
        )
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = Upsampler(scale, channels)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        self.register_buffer("mean", div2k_mean(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x - self.mean)
        deep = self.fuse(self.blocks(shallow)) + shallow
        image: Tensor = self.tail(self.upsample(deep)) + self.mean
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 255.0)


class MobileEDSR(nn.Module):
    """`head -> residual blocks -> fuse -> + head -> one convolution -> pixel shuffle`.

    Args:
        scale: enlargement.
        channels: width of the features.
        blocks: residual blocks.
    """

    def __init__(self, scale: int, channels: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        deep = self.fuse(self.blocks(shallow)) + shallow
        image = F.pixel_shuffle(self.upsample(deep), self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 255.0)


_PAPER = Paper(
    "Enhanced Deep Residual Networks for Single Image Super-Resolution",
    "CVPR Workshops 2017",
    "https://arxiv.org/abs/1707.02921",
)


@register(
    "edsr",
    paper=_PAPER,
    scales=(2, 3, 4),
    parameters={2: 40_729_603, 3: 43_680_003, 4: 43_089_923},
    value_range=255.0,
)
def edsr(scale: int) -> nn.Module:
    return EDSR(scale, channels=256, blocks=32, scaling=0.1)


@register(
    "edsr-baseline",
    paper=_PAPER,
    scales=(2, 3, 4),
    parameters={2: 1_369_859, 3: 1_554_499, 4: 1_517_571},
    value_range=255.0,
)
def edsr_baseline(scale: int) -> nn.Module:
    return EDSR(scale)


@register(
    "edsr-f32b5",
    paper=Paper(
        "EDSR F32B5, MLPerf Mobile super-resolution",
        "MLCommons 2023",
        "https://github.com/mlcommons/mobile_app_open",
    ),
    scales=(2,),
    parameters={2: 106_092},
    value_range=255.0,
)
def edsr_f32b5(scale: int) -> nn.Module:
    return MobileEDSR(scale)

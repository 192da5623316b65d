"""MZSR: the eight-layer network that learns to be retrained on one image in one step.

Soh, Cho and Cho, "Meta-Transfer Learning for Zero-Shot Super-Resolution", CVPR 2020, section 4.1:
bicubic enlargement, seven 3x3 convolutions of 64 channels with ReLU, one to RGB, and the
enlarged image added. What is special is how the weights come about: `edgesr.adapt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.data.bicubic import cubic
from edgesr.models.registry import Paper, register

_REACH = 2
"""Low-resolution pixels that bicubic interpolation reads to each side, at most."""


class BicubicEnlargement(nn.Module):
    """MATLAB's bicubic enlargement as one grouped convolution and a pixel shuffle.

    The image is mirrored at its border, the edge repeated; then output pixel `scale * i + r` is a
    fixed weighted sum of input pixels `i - 2` to `i + 2`: `scale^2` filters.

    Args:
        scale: enlargement.
        channels: of the image.
    """

    weight: Tensor

    def __init__(self, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.register_buffer("weight", torch.empty(0), persistent=False)
        self.place((scale - 1) / 2, (scale - 1) / 2)

    def place(self, row: float, column: float) -> None:
        """Say where the centre of the first low-resolution pixel lies, in high-resolution pixels.

        `(scale - 1) / 2` for bicubic reduction, 0 for a symmetric blur after which every
        `scale`-th pixel was kept, beginning with the first.
        """
        rows, columns = self._taps(row), self._taps(column)
        filters = torch.einsum("ry,cx->rcyx", rows, columns)
        filters = filters.reshape(self.scale**2, 1, *filters.shape[2:])
        self.weight = filters.repeat(self.channels, 1, 1, 1).to(self.weight)

    def _taps(self, place: float) -> Tensor:
        """scale x 5: weights of the input pixels for each position inside a block."""
        position = (np.arange(self.scale) - place) / self.scale
        offsets = np.arange(-_REACH, _REACH + 1)
        return torch.from_numpy(cubic(position[:, None] - offsets)).float()

    def forward(self, x: Tensor) -> Tensor:
        # As slices and a concatenation, which every runtime has; symmetric padding few have.
        for axis in (2, 3):
            x = torch.cat(
                [*_mirrored(x, axis, before=True), x, *_mirrored(x, axis, before=False)], axis
            )
        return F.pixel_shuffle(F.conv2d(x, self.weight, groups=self.channels), self.scale)


def _mirrored(x: Tensor, axis: int, *, before: bool) -> list[Tensor]:
    """The rows or columns that continue `x` beyond its border, in order."""
    places = range(_REACH - 1, -1, -1) if before else range(-1, -_REACH - 1, -1)
    return [x[(slice(None),) * axis + (slice(i, i + 1 or None),)] for i in places]


class MZSR(nn.Module):
    """`enlarge -> (3x3 -> ReLU) x 7 -> 3x3 -> + enlarged -> clip`, on RGB in [0, 1].

    Args:
        scale: enlargement.
        channels: width.
        layers: convolutions.
    """

    def __init__(self, scale: int, channels: int = 64, layers: int = 8) -> None:
        super().__init__()
        self.scale = scale
        self.enlarge = BicubicEnlargement(scale)
        widths = [3, *[channels] * (layers - 1), 3]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        image = self.refine(self.enlarge(x))
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)

    def refine(self, enlarged: Tensor) -> Tensor:
        """The network proper: high-resolution detail added to an enlarged image."""
        convs: Sequence[nn.Module] = list(self.convs)
        features = enlarged
        for conv in convs[:-1]:
            features = F.relu(conv(features))
        image: Tensor = convs[-1](features) + enlarged
        return image


@register(
    "mzsr",
    paper=Paper(
        "Meta-Transfer Learning for Zero-Shot Super-Resolution",
        "CVPR 2020",
        "https://arxiv.org/abs/2002.12213",
    ),
    scales=(2,),
    parameters={2: 225_091},
    exact_tiling=False,
)
def mzsr(scale: int) -> nn.Module:
    return MZSR(scale)

"""ECBSR: edge-oriented convolution blocks, collapsed to plain 3x3 convolutions.

Zhang et al., "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices",
ACM MM 2021. In training every convolution is a sum of a 3x3 convolution, a widening 1x1 -> 3x3
pair, and 1x1 convolutions followed by scaled Sobel and Laplacian filters (section 3.2). All are
linear: `collapse` turns each block into the 3x3 convolution that is deployed (section 3.3).

The paper pads the output of each 1x1 with that convolution's bias; a 3x3 convolution of the sum
has the same border only for this reason. Here the input is padded with zeros before the 1x1,
whose value there is then its bias: the same numbers, and no step that writes into a tensor.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.prelu import PReLU
from edgesr.models.registry import Paper, register

_SOBEL_X = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
_SOBEL_Y = ((1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (-1.0, -2.0, -1.0))
_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


class EdgeBranch(nn.Module):
    """A 1x1 convolution, then a fixed filter per channel with a learned strength and bias."""

    def __init__(
        self, in_channels: int, out_channels: int, edge: tuple[tuple[float, ...], ...]
    ) -> None:
        super().__init__()
        self.point = nn.Conv2d(in_channels, out_channels, 1)
        self.strength = nn.Parameter(torch.empty(out_channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels))
        for parameter in (self.strength, self.bias):
            nn.init.normal_(parameter, std=1e-3)
        self.edge: Tensor
        filters = torch.tensor(edge).expand(out_channels, 1, 3, 3).clone()
        self.register_buffer("edge", filters, persistent=False)

    def forward(self, padded: Tensor) -> Tensor:
        features = self.point(padded)
        weight = self.strength * self.edge
        return F.conv2d(features, weight, self.bias, groups=features.shape[1])

    def composed(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the one 3x3 convolution that this branch is."""
        weight = self.strength * self.edge
        bias = weight.sum((1, 2, 3)) * _bias(self.point) + self.bias
        return weight * self.point.weight, bias


class EdgeBlock(nn.Module):
    """The paper's ECB without its activation: five linear branches, one 3x3 convolution.

    Args:
        in_channels, out_channels: as in `nn.Conv2d`; stride 1, zero padding 1.
        widening: width of the 1x1 -> 3x3 branch, as a multiple of `out_channels`.
    """

    def __init__(self, in_channels: int, out_channels: int, widening: int = 2) -> None:
        super().__init__()
        wide = widening * out_channels
        self.square = nn.Conv2d(in_channels, out_channels, 3)
        self.widen = nn.Conv2d(in_channels, wide, 1)
        self.squeeze = nn.Conv2d(wide, out_channels, 3)
        self.sobel_x = EdgeBranch(in_channels, out_channels, _SOBEL_X)
        self.sobel_y = EdgeBranch(in_channels, out_channels, _SOBEL_Y)
        self.laplacian = EdgeBranch(in_channels, out_channels, _LAPLACIAN)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1))
        features: Tensor = self.square(padded) + self.squeeze(self.widen(padded))
        for branch in (self.sobel_x, self.sobel_y, self.laplacian):
            features = features + branch(padded)
        return features

    @torch.no_grad()
    def collapsed(self) -> nn.Conv2d:
        """The 3x3 convolution this block is (section 3.3): what is counted as deployed."""
        squeeze = self.squeeze.weight
        kernel = torch.einsum("omhw,mi->oihw", squeeze, self.widen.weight[:, :, 0, 0])
        bias = torch.einsum("omhw,m->o", squeeze, _bias(self.widen)) + _bias(self.squeeze)
        for branch in (self.sobel_x, self.sobel_y, self.laplacian):
            edge_kernel, edge_bias = branch.composed()
            kernel, bias = kernel + edge_kernel, bias + edge_bias
        conv = nn.Conv2d(self.square.in_channels, self.square.out_channels, 3, padding=1)
        conv.weight = nn.Parameter(self.square.weight + kernel)
        conv.bias = nn.Parameter(_bias(self.square) + bias)
        return conv


class ECBSR(nn.Module):
    """`block, PReLU -> (block, PReLU) x blocks -> block -> + nearest(x) -> pixel shuffle`, on luma.

    Args:
        scale: enlargement.
        channels: width of every block but the last (C in the paper's names).
        blocks: blocks between head and tail (M in the paper's names).
    """

    def __init__(self, scale: int, channels: int = 16, blocks: int = 4) -> None:
        super().__init__()
        self.scale = scale
        widths = [1] + [channels] * (blocks + 1)
        self.body = nn.ModuleList(
            nn.Sequential(EdgeBlock(a, b), PReLU(b)) for a, b in pairwise(widths)
        )
        self.tail = EdgeBlock(channels, scale**2)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for block in self.body:
            features = block(features)
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(self.tail(features) + anchor, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices",
    "ACM MM 2021",
    "https://doi.org/10.1145/3474085.3475291",
)

# Deployed counts as printed in the paper, whose digits come out exactly when the slopes of PReLU
# count twice; the plain network has them once, which is 2.1 % less for the smallest net.
_TOLERANCE = 0.021
_SCALES = (2, 4)


@register(
    "ecbsr-m4c8",
    paper=_PAPER,
    scales=_SCALES,
    parameters={2: 2_800, 4: 3_700},
    tolerance=_TOLERANCE,
    colour="y",
)
def ecbsr_m4c8(scale: int) -> nn.Module:
    return ECBSR(scale, channels=8, blocks=4)


@register(
    "ecbsr-m4c16",
    paper=_PAPER,
    scales=_SCALES,
    parameters={2: 10_200, 4: 11_900},
    tolerance=_TOLERANCE,
    colour="y",
)
def ecbsr_m4c16(scale: int) -> nn.Module:
    return ECBSR(scale, channels=16, blocks=4)


@register(
    "ecbsr-m10c16",
    paper=_PAPER,
    scales=_SCALES,
    parameters={2: 24_300, 4: 26_000},
    tolerance=_TOLERANCE,
    colour="y",
)
def ecbsr_m10c16(scale: int) -> nn.Module:
    return ECBSR(scale, channels=16, blocks=10)


@register(
    "ecbsr-m10c32",
    paper=_PAPER,
    scales=_SCALES,
    parameters={2: 94_700, 4: 98_100},
    tolerance=_TOLERANCE,
    colour="y",
)
def ecbsr_m10c32(scale: int) -> nn.Module:
    return ECBSR(scale, channels=32, blocks=10)


@register(
    "ecbsr-m16c64",
    paper=_PAPER,
    scales=_SCALES,
    parameters={2: 596_000, 4: 603_000},
    tolerance=_TOLERANCE,
    colour="y",
)
def ecbsr_m16c64(scale: int) -> nn.Module:
    return ECBSR(scale, channels=64, blocks=16)

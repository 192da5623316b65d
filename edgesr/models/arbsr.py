"""ArbSR: one network for every scale, whole or not, the same both ways or not.

Wang et al., "Learning A Single Network for Scale-Arbitrary Super-Resolution", ICCV 2021. A plug-in:
*scale-aware feature adaption* after every K stages of a backbone, and *scale-aware upsampling* in
place of its pixel shuffle. Here around EDSR, RCAN and our Plain family.

Both depend on the scale through small fully connected networks only. Once the scale is fixed these
are constants: an adaption's convolution is a static one, and the upsampling, linear in the features
and repeating with the scale, is one convolution and a pixel shuffle (`edgesr.models.enlarge`).

Differences from the paper, so that the folded form equals the network up to the border: the last
3x3 convolution reads output pixels beyond the border as the upsampling would compute them, not as
zeros. Places are computed in whole numbers (`edgesr.models.sites`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.any_scale import AnyScale
from edgesr.models.edsr import ResidualBlock, div2k_mean
from edgesr.models.enlarge import Enlarge, Nearest, Part, Window
from edgesr.models.plain import BranchedConv
from edgesr.models.rcan import ResidualGroup
from edgesr.models.registry import Paper, register
from edgesr.models.sites import Sites
from edgesr.scales import Scale


class ScaleAwareConv(nn.Module):
    """A 3x3 convolution mixed from experts, weighted by the scale (section 3.2, figure 4).

    Args:
        channels: in and out.
        experts: kernels in the pool.
    """

    def __init__(self, channels: int, experts: int = 4) -> None:
        super().__init__()
        self.controller = nn.Sequential(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, experts), nn.Softmax(dim=-1)
        )
        self.experts = nn.Parameter(torch.empty(experts * channels, channels, 3, 3))
        nn.init.kaiming_uniform_(self.experts, a=math.sqrt(5))

    def forward(self, x: Tensor, inverse: Tensor) -> Tensor:
        """`inverse`: one over the vertical and the horizontal scale."""
        share = self.controller(inverse)
        experts = self.experts.unflatten(0, (len(share), -1))  # type: ignore[no-untyped-call]
        kernel = (share[:, None, None, None, None] * experts).sum(0)
        return F.conv2d(x, kernel, padding=1)


class ScaleAwareAdaption(nn.Module):
    """`x + mask(x) * scale_aware_conv(x)`, the mask an hourglass (section 3.2, figure 3).

    Args:
        channels: of the features. Height and width must be even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]

        self.mask = nn.Sequential(
            *conv(channels, 16), nn.ReLU(), nn.AvgPool2d(2),
            *conv(16, 16), nn.ReLU(), *conv(16, 16), nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"), *conv(16, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.adapt = ScaleAwareConv(channels)

    def forward(self, x: Tensor, inverse: Tensor) -> Tensor:
        change: Tensor = self.mask(x) * self.adapt(x, inverse)
        return x + change


class AdaptedTrunk(nn.Module):
    """A backbone's stages with an adaption after every `every` of them.

    What comes out of an adaption is what knowledge is transferred to in training: a network made
    for one scale has features of the same place.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: int, every: int) -> None:
        super().__init__()
        self.channels, self.every = channels, every
        self.stages = nn.ModuleList(stages)
        self.adaptions = nn.ModuleList(
            ScaleAwareAdaption(channels) for _ in range(len(stages) // every)
        )

    def forward(self, x: Tensor, inverse: Tensor) -> Tensor:
        for index, stage in enumerate(self.stages, 1):
            x = stage(x)
            if index % self.every == 0:
                x = self.adaptions[index // self.every - 1](x, inverse)
        return x


class ScaleAwareUpsample(Part):
    """Features to an image of any size (section 3.3, figure 5).

    For each output pixel, two fully connected layers read its place inside its input pixel and
    the scale, and predict an offset and the weights of the experts. The features are sampled at the
    place moved by the offset, filtered by the mix of the experts, added to the unfiltered; a 3x3
    convolution over the output makes colours.

    A mixed filter is never formed: filtering by a sum of weighted experts is a weighted sum of
    filtered maps, so all experts run as one 1x1 convolution.

    Args:
        channels: of the features.
        width: channels between the two halves of a filter; the paper has `channels // 8`.
        experts: filters in the pool.
    """

    def __init__(self, channels: int, width: int, experts: int = 4) -> None:
        super().__init__()
        self.channels, self.experts = channels, experts
        self.controller = nn.Sequential(
            nn.Conv2d(4, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU()
        )
        self.routing = nn.Conv2d(64, experts, 1)
        self.offset = nn.Conv2d(64, 2, 1)
        self.compress = nn.Conv2d(channels, experts * width, 1, bias=False)
        self.expand = nn.Conv2d(experts * width, channels, 1, bias=False)
        self.tail = nn.Conv2d(channels, 3, 3)

    def forward(self, x: Tensor, rows: Sites, columns: Sites) -> Tensor:
        place = self.controller(_places(rows, columns))
        weights = self.routing(place).sigmoid().chunk(self.experts, dim=1)
        sampled = _sample(x, rows, columns, self.offset(place))
        narrow = self.compress(sampled).chunk(self.experts, dim=1)
        mixed = weights[0] * narrow[0]
        for weight, part in zip(weights[1:], narrow[1:], strict=True):
            mixed = mixed + weight * part
        filtered = self.expand(torch.cat([weight * mixed for weight in weights], dim=1))
        image: Tensor = self.tail(sampled + filtered)
        return image

    def reach(self, rows: Sites, columns: Sites) -> tuple[int, int]:
        with torch.no_grad():
            offset = self.offset(self.controller(_places(rows, columns)))[0]
        down, across = (
            # Shapes without numbers are analysed as if nothing were moved.
            0.0 if moved.is_meta else float(moved.abs().max())
            for moved in offset
        )
        # The pixel beyond the border lies so far outside; sampling it reads its two neighbours.
        beyond = [0.5 * axis.inverse_number + 0.5 for axis in (rows, columns)]
        return math.ceil(beyond[0] + down), math.ceil(beyond[1] + across)

    def filters(self, rows: Sites, columns: Sites, window: Window) -> Tensor:
        """For each output pixel `o`, the sum over its 3x3 neighbours `n` of `tail[n - o]` after
        `identity + expand(n) compress(n)` after the bilinear weights of `n`."""
        place = self.controller(_places(rows, columns))
        weights = self.routing(place).sigmoid()[0]
        experts = self.experts
        compress = self.compress.weight[:, :, 0, 0].unflatten(0, (experts, -1))  # type: ignore[no-untyped-call]
        expand = self.expand.weight[:, :, 0, 0].unflatten(1, (experts, -1))  # type: ignore[no-untyped-call]
        narrow = torch.einsum("ehw,erk->hwrk", weights, compress)
        wide = torch.einsum("ehw,cer->hwcr", weights, expand)
        mixed = wide @ narrow + torch.eye(self.channels).to(wide)
        offset = self.offset(place)[0]
        down = _hat((rows.centre[:, None] + offset[0])[..., None] - window[0])
        across = _hat((columns.centre[None] + offset[1])[..., None] - window[1])
        height, width = rows.count, columns.count
        total = torch.zeros(())
        for y in range(3):
            for x in range(3):
                at = (slice(y, y + height), slice(x, x + width))
                colours = self.tail.weight[:, :, y, x] @ mixed[at]
                total = total + torch.einsum("hwjk,hwn,hwm->hwjknm", colours, down[at], across[at])
        return total

    def bias(self) -> Tensor | None:
        return self.tail.bias


def _hat(distance: Tensor) -> Tensor:
    """Weight of a pixel in a linear interpolation."""
    return (1 - distance.abs()).clamp_min(0)


def _places(rows: Sites, columns: Sites) -> Tensor:
    """1x4xHxW: one over each scale, and where inside its input pixel each output pixel lies."""
    height, width = rows.within.shape[0], columns.within.shape[0]
    return torch.cat([
        columns.inverse.expand(1, 1, height, width),
        rows.inverse.expand(1, 1, height, width),
        rows.within[:, None].expand(1, 1, height, width),
        columns.within[None].expand(1, 1, height, width),
    ], dim=1)  # fmt: skip


def _sample(features: Tensor, rows: Sites, columns: Sites, offset: Tensor) -> Tensor:
    """Bilinear samples at the output pixels, moved by `offset` (1x2xHxW: down, right, in input
    pixels); zero outside."""
    height, width = features.shape[2:]
    down = rows.centre[:, None] + offset[0, 0]
    right = columns.centre[None] + offset[0, 1]
    places = ((2 * right + 1) / width - 1, (2 * down + 1) / height - 1)
    grid = torch.cat([place[..., None] for place in places], dim=-1)
    grid = grid[None].expand(features.shape[0], -1, -1, -1)
    return F.grid_sample(features, grid, padding_mode="zeros", align_corners=False)


class ArbResidual(AnyScale):
    """EDSR or RCAN with the plug-in: `- mean -> head -> trunk -> fuse -> + head -> upsample -> +`.

    Args:
        scale: enlargement that `forward` does.
        stages: what stands between head and fuse, in pieces.
        channels: width of the features.
        every: an adaption after every so many stages; the paper has 1 for RCAN's groups.
    """

    mean: Tensor

    def __init__(
        self, scale: Scale, stages: Sequence[nn.Module], channels: int = 64, every: int = 1
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.trunk = AdaptedTrunk(stages, channels, every)
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = Enlarge(ScaleAwareUpsample(channels, channels // 8))
        self.register_buffer("mean", div2k_mean(), persistent=False)

    def enlarge(self, x: Tensor, rows: Sites, columns: Sites, upsample: nn.Module) -> Tensor:
        shallow = self.head(x - self.mean)
        inverse = torch.cat([rows.inverse[None], columns.inverse[None]])
        deep = self.fuse(self.trunk(shallow, inverse)) + shallow
        image: Tensor = upsample([deep], rows, columns) + self.mean
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 255.0)


class ArbPlain(AnyScale):
    """Plain (`edgesr.models.plain`) with the plug-in.

    Args:
        scale: enlargement that `forward` does.
        channels, blocks: as in `Plain`.
        every: an adaption after every so many convolutions.
    """

    def __init__(self, scale: Scale, channels: int = 32, blocks: int = 5, every: int = 3) -> None:
        super().__init__()
        self.scale = scale
        widths = [3] + [channels] * blocks
        stages = [nn.Sequential(BranchedConv(a, b), nn.ReLU()) for a, b in pairwise(widths)]
        self.trunk = AdaptedTrunk(stages, channels, every)
        self.fuse = BranchedConv(channels, channels)
        self.upsample = Enlarge(ScaleAwareUpsample(channels, channels // 4), Nearest())

    def enlarge(self, x: Tensor, rows: Sites, columns: Sites, upsample: nn.Module) -> Tensor:
        features = self.trunk(x, torch.cat([rows.inverse[None], columns.inverse[None]]))
        image: Tensor = upsample([self.fuse(features), x], rows, columns)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "Learning A Single Network for Scale-Arbitrary Super-Resolution",
    "ICCV 2021",
    "https://arxiv.org/abs/2004.03791",
)
_RANGE = (1.0, 5.0)
"""Trained for 1.1 to 4.0; what is asked for beyond is served as well as it can."""


@register("arbsr-plain", paper=_PAPER, scales=(2, 3, 4), pad_multiple=2, any_scale=_RANGE)
def arbsr_plain(scale: Scale) -> nn.Module:
    return ArbPlain(scale)


@register(
    "arbsr-edsr-baseline", paper=_PAPER, scales=(2, 3, 4), value_range=255.0, pad_multiple=2,
    any_scale=_RANGE,
)  # fmt: skip
def arbsr_edsr_baseline(scale: Scale) -> nn.Module:
    return ArbResidual(scale, [ResidualBlock(64) for _ in range(16)], every=4)


@register(
    "arbsr-rcan", paper=_PAPER, scales=(2, 3, 4), value_range=255.0, pad_multiple=2,
    exact_tiling=False, any_scale=_RANGE,
)  # fmt: skip
def arbsr_rcan(scale: Scale) -> nn.Module:
    return ArbResidual(scale, [ResidualGroup(64, blocks=20) for _ in range(10)])

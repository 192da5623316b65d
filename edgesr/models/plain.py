"""Plain: at deployment nothing but 3x3 convolutions, ReLU and the nearest-neighbour anchor.

Ours. Every choice serves int8 kernels: widths 16, 32 and 48 fill their tiles (28 channels cost
what 32 do), one activation, no skip inside, so that no tensor is read twice; the image itself is
added once, at the end, where its scale is 1/255 and nothing has to be requantized.

In training each convolution is a sum of branches (3x3, 1x1, a widening 1x1 followed by 3x3, and
identity), after RepVGG (Ding et al., CVPR 2021) and ECBSR (Zhang et al., ACM MM 2021). All
branches are linear, so their sum is one 3x3 kernel; it is composed in weight space in every step,
which costs a thousandth of running the branches over the image (SESR, Bhardwaj et al., MLSys 2022,
section 3.3).

`plain-s`, `-m` and `-l` are three sizes; `plain-d5c28` is any other: 5 convolutions between the
first and the last, 28 channels.
"""

from __future__ import annotations

from functools import partial
from itertools import count, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.errors import UsageError
from edgesr.models.registry import Entry, Paper, Tensors, register, register_family

_PAPER = Paper("Plain: collapsible 3x3 convolutions with a nearest-neighbour anchor", "edgesr")
_SCALES = (2, 3, 4)


class BranchedConv(nn.Module):
    """A 3x3 convolution parameterized by four linear branches.

    Args:
        in_channels, out_channels: as in `nn.Conv2d`; stride 1, zero padding 1.
        widening: width of the 1x1 -> 3x3 branch, as a multiple of `out_channels`.
    """

    def __init__(self, in_channels: int, out_channels: int, widening: int = 2) -> None:
        super().__init__()
        wide = widening * out_channels
        self.square = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.point = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        # No bias: zero padding of the widened map would otherwise differ from padding the input.
        self.widen = nn.Conv2d(in_channels, wide, 1, bias=False)
        self.squeeze = nn.Conv2d(wide, out_channels, 3, padding=1, bias=False)
        self.identity = in_channels == out_channels
        nn.init.zeros_(self.squeeze.weight)

    def kernel(self) -> Tensor:
        """The one 3x3 kernel that all branches add up to."""
        composed = torch.einsum("omhw,mi->oihw", self.squeeze.weight, self.widen.weight[:, :, 0, 0])
        kernel = self.square.weight + composed + F.pad(self.point.weight, (1, 1, 1, 1))
        if self.identity:
            eye = torch.eye(kernel.shape[0], device=kernel.device, dtype=kernel.dtype)
            kernel = kernel + F.pad(eye[:, :, None, None], (1, 1, 1, 1))
        return kernel

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.square.bias, padding=1)


class Plain(nn.Module):
    """`head -> blocks -> tail -> + nearest(x) -> pixel shuffle -> clip`.

    Args:
        scale: enlargement.
        channels: width of every layer but the last.
        blocks: convolutions between head and tail.
    """

    def __init__(self, scale: int, channels: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.scale = scale
        widths = [3] + [channels] * (blocks + 1)
        self.body = nn.ModuleList(BranchedConv(a, b) for a, b in pairwise(widths))
        self.tail = BranchedConv(channels, 3 * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in self.body:
            features = F.relu(conv(features))
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(self.tail(features) + anchor, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


def _deployed(scale: int, channels: int, blocks: int) -> int:
    last = 3 * scale**2
    return 28 * channels + blocks * (9 * channels + 1) * channels + (9 * channels + 1) * last


def _counts(channels: int, blocks: int) -> dict[int, int]:
    return {scale: _deployed(scale, channels, blocks) for scale in _SCALES}


@register("plain-s", paper=_PAPER, scales=_SCALES, parameters=_counts(16, 4))
def plain_s(scale: int) -> nn.Module:
    return Plain(scale, channels=16, blocks=4)


@register("plain-m", paper=_PAPER, scales=_SCALES, parameters=_counts(32, 4))
def plain_m(scale: int) -> nn.Module:
    return Plain(scale, channels=32, blocks=4)


@register("plain-l", paper=_PAPER, scales=_SCALES, parameters=_counts(48, 5))
def plain_l(scale: int) -> nn.Module:
    return Plain(scale, channels=48, blocks=5)


_MOST = {"convolutions": 64, "channels": 512}


def _named(tensors: Tensors) -> str | None:
    first = tensors.get("body.0.square.weight")
    if first is None or first.ndim != 4:
        return None
    depth = next(number for number in count() if f"body.{number + 1}.square.weight" not in tensors)
    sizes = {"convolutions": depth, "channels": first.shape[0]}
    fit = all(1 <= value <= _MOST[what] for what, value in sizes.items())
    return f"plain-d{depth}c{sizes['channels']}" if fit else None


@register_family(r"plain-d(\d+)c(\d+)", named=_named)
def plain_sized(name: str, depth: int, channels: int) -> Entry:
    """Any size.

    Raises:
        UsageError: no convolution, no channel, or more than the family goes to.
    """
    for what, value in zip(_MOST, (depth, channels), strict=True):
        if not 1 <= value <= _MOST[what]:
            raise UsageError(f"`{name}`: {what} from 1 to {_MOST[what]}, not {value}")
    build = partial(Plain, channels=channels, blocks=depth)
    return Entry(name, build, _PAPER, _SCALES, _counts(channels, depth))

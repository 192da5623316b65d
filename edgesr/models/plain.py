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
first and the last, 28 channels. `plain-y-m` and `plain-y-d5c28` are for luma, which video decoders
give: the last layer is a third as wide, and no channel is spent on colour.
"""

from __future__ import annotations

from functools import partial
from itertools import count, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Entry, Paper, Tensors, register, register_family
from edgesr.network import Colour

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
        colours: channels of the image, 3 for RGB, 1 for luma.
    """

    def __init__(self, scale: int, channels: int = 32, blocks: int = 4, colours: int = 3) -> None:
        super().__init__()
        self.scale = scale
        widths = [colours] + [channels] * (blocks + 1)
        self.body = nn.ModuleList(BranchedConv(a, b) for a, b in pairwise(widths))
        self.tail = BranchedConv(channels, colours * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in self.body:
            features = F.relu(conv(features))
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(self.tail(features) + anchor, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


def _counts(channels: int, blocks: int, colours: int) -> dict[int, int]:
    """Deployed parameters by scale."""
    per_channel = 9 * channels + 1
    body = (9 * colours + 1) * channels + blocks * per_channel * channels
    return {scale: body + per_channel * colours * scale**2 for scale in _SCALES}


_COLOURS: dict[int, Colour] = {3: "rgb", 1: "y"}

# Name, channels, blocks, colours.
for _name, *_size in (
    ("plain-s", 16, 4, 3),
    ("plain-m", 32, 4, 3),
    ("plain-l", 48, 5, 3),
    ("plain-y-m", 32, 6, 1),
):
    register(
        _name, paper=_PAPER, scales=_SCALES, parameters=_counts(*_size), colour=_COLOURS[_size[2]]
    )(partial(Plain, channels=_size[0], blocks=_size[1], colours=_size[2]))


def _sizes(tensors: Tensors, colours: int) -> tuple[int, int] | None:
    first = tensors.get("body.0.square.weight")
    if first is None or first.ndim != 4 or first.shape[1] != colours:
        return None
    depth = next(number for number in count() if f"body.{number + 1}.square.weight" not in tensors)
    return depth, first.shape[0]


def _sized(name: str, depth: int, channels: int, colours: int) -> Entry:
    build = partial(Plain, channels=channels, blocks=depth, colours=colours)
    parameters = _counts(channels, depth, colours)
    return Entry(name, build, _PAPER, _SCALES, parameters, colour=_COLOURS[colours])


for _prefix, _colours in (("plain", 3), ("plain-y", 1)):
    register_family(
        _prefix + "-d{}c{}",
        most={"convolutions": 64, "channels": 512},
        sizes=partial(_sizes, colours=_colours),
    )(partial(_sized, colours=_colours))

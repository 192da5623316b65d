"""FSRCNN: shrink, map, expand, and one deconvolution at the end.

Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016:
FSRCNN(d=56, s=12, m=4) with PReLU after every convolution and a 9x9 deconvolution of stride
`scale`, luma only (section 3).

The deconvolution is stored as in the paper and run as what it is at low resolution: an ordinary
convolution with scale^2 outputs followed by pixel shuffle. Same numbers, borders included, and
every runtime has a fast int8 kernel for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.prelu import PReLU
from edgesr.models.registry import Paper, register


class ShuffledDeconv(nn.Module):
    """A deconvolution to one channel, computed as convolution and pixel shuffle.

    Output pixel `scale * i + r` reads input `i + j` with the tap `k = r + margin - scale * j`
    of the deconvolution; so phase r of the kernel, taps reversed, is the r-th output channel.

    Args:
        in_channels: channels it reads.
        scale: stride, the enlargement.
        kernel: odd kernel size; the margin cut from the full deconvolution is half of it.
    """

    def __init__(self, in_channels: int, scale: int, kernel: int) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(in_channels, 1, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.normal_(self.weight, std=0.001)

    def phases(self) -> Tensor:
        """The kernel of the equal convolution: scale^2 x in_channels x (2 reach + 1) squared."""
        scale, size = self.scale, self.weight.shape[-1]
        margin = size // 2
        reach = -(-margin // scale)
        # Tap k stands at row reach - j of phase r; with pad zeros in front, k + front is
        # scale * (2 * reach - row) + r, so one reshape deals the taps out to their phases.
        front = scale * reach - margin
        back = scale * (2 * reach + 1) - size - front
        dealt = F.pad(self.weight, (front, back, front, back))
        dealt = dealt.reshape(-1, 2 * reach + 1, scale, 2 * reach + 1, scale)
        return dealt.permute(2, 4, 0, 1, 3).flatten(0, 1).flip(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.phases()
        bias = self.bias.repeat(self.scale**2)
        return F.pixel_shuffle(F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2), self.scale)


class FSRCNN(nn.Module):
    """`5x5 -> 1x1 shrink -> 3x3 x blocks -> 1x1 expand -> 9x9 deconvolution -> clip`, on luma.

    Args:
        scale: enlargement.
        channels: width after the first convolution and before the deconvolution (d).
        inner: width of the mapping convolutions (s).
        blocks: number of mapping convolutions (m).
    """

    def __init__(self, scale: int, channels: int = 56, inner: int = 12, blocks: int = 4) -> None:
        super().__init__()
        shapes = [(1, channels, 5), (channels, inner, 1)]
        shapes += [(inner, inner, 3)] * blocks + [(inner, channels, 1)]
        self.body = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(a, b, k, padding=k // 2), PReLU(b)) for a, b, k in shapes)
        )
        self.tail = ShuffledDeconv(channels, scale, 9)

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.tail(self.body(x))
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "Accelerating the Super-Resolution Convolutional Neural Network",
    "ECCV 2016",
    "https://arxiv.org/abs/1608.00367",
)


# The paper counts weights; biases and slopes are 345 numbers more (2.8 %).
@register(
    "fsrcnn",
    paper=_PAPER,
    scales=(2, 3, 4),
    parameters={2: 12_464, 3: 12_464, 4: 12_464},
    tolerance=0.028,
    colour="y",
)
def fsrcnn(scale: int) -> nn.Module:
    return FSRCNN(scale)

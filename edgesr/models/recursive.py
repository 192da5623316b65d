"""Recursive: a few convolutions that the image passes several times, so depth costs no parameters.

Ours, after DRRN (Tai et al., "Image Super-Resolution via Deep Recursive Residual Network", CVPR
2017): every pass starts from what the last one found plus the first features (its figure 2d). What
differs: one plain stack in place of residual units, biases and slopes of each pass's own in
place of batch norm, and all of it at low resolution, before a pixel shuffle; luma only.

Few parameters for its quality; multiplications are those of a network as deep as all passes.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.prelu import PReLU
from edgesr.models.registry import Paper, register


class Step(nn.Module):
    """A shared kernel's convolution in one pass, with bias and slopes of that pass."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.act = PReLU(channels)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        features: Tensor = self.act(F.conv2d(x, kernel, self.bias, padding=1))
        return features


class Recursive(nn.Module):
    """`3x3 -> (kernels, + 3x3's output) x passes -> 3x3 -> + nearest(x) -> pixel shuffle`.

    Args:
        scale: enlargement.
        channels: width of every layer but the last.
        kernels: 3x3 kernels, used one after the other in every pass.
        passes: how often they are used.
    """

    def __init__(self, scale: int, channels: int, kernels: int, passes: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(1, channels, 3, padding=1)
        self.kernels = nn.ParameterList(
            torch.empty(channels, channels, 3, 3) for _ in range(kernels)
        )
        self.passes = nn.ModuleList(
            nn.ModuleList(Step(channels) for _ in range(kernels)) for _ in range(passes)
        )
        self.tail = nn.Conv2d(channels, scale**2, 3, padding=1)
        for kernel in self.kernels:
            # A pass begins near the identity: several in a row neither fade nor explode.
            identity = nn.init.dirac_(torch.empty_like(kernel))
            nn.init.kaiming_uniform_(kernel, a=math.sqrt(5)).data.add_(identity)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        features = shallow
        for number, steps in enumerate(self.passes):
            if number:
                features = features + shallow
            for kernel, step in zip(self.kernels, steps, strict=True):  # type: ignore[call-overload]
                features = step(features, kernel)
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(self.tail(features + shallow) + anchor, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper("Recursive: shared convolutions, after DRRN (CVPR 2017)", "edgesr")
_SCALES = (2, 3, 4)


def _counts(channels: int, kernels: int, passes: int) -> dict[int, int]:
    body = kernels * 9 * channels**2 + kernels * passes * 2 * channels
    return {scale: 10 * channels + body + (9 * channels + 1) * scale**2 for scale in _SCALES}


# Name, channels, kernels, passes: of the size of IMDN-RTC, of SESR-XL.
for _name, *_size in (("recursive-s", 32, 2, 7), ("recursive-l", 48, 5, 4)):
    register(_name, paper=_PAPER, scales=_SCALES, parameters=_counts(*_size), colour="y")(
        partial(Recursive, channels=_size[0], kernels=_size[1], passes=_size[2])
    )

"""Recursive: a few convolutions that the image passes several times, so depth costs no parameters.

Ours, after DRRN (Tai et al., "Image Super-Resolution via Deep Recursive Residual Network", CVPR
2017): every pass starts from what the last one found plus the first features (its figure 2d). What
differs: one plain stack in place of residual units, biases and slopes of each pass's own in
place of batch norm, and all of it at low resolution, before a pixel shuffle; luma only.

Few parameters for its quality; multiplications are those of a network as deep as all passes.

`recursive-s` and `-l` are two sizes; `recursive-k5c48p2` is any other: 5 kernels of 48 channels in
2 passes. A training step of few passes takes less time; more can begin with their weights.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.prelu import PReLU
from edgesr.models.registry import Entry, Paper, Tensors, register, register_family


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

    def from_fewer_passes(self, tensors: Tensors) -> dict[str, Tensor]:
        """Weights of the same kernels in fewer passes, the second of which is repeated.

        The first pass is the only one without `+ 3x3's output`, and the last ones prepare the
        image: repeated instead, they cost a decibel and more before any training.

        Args:
            tensors: state of a Recursive, of any number of passes.
        """
        have = _length(tensors, "passes.{}.0.bias")
        order = list(range(have))
        order[1:1] = [min(1, have - 1)] * (len(self.passes) - have)
        grown = {name: value for name, value in tensors.items() if not name.startswith("passes.")}
        for number, source in enumerate(order[: len(self.passes)]):
            own, its = f"passes.{number}.", f"passes.{source}."
            grown |= {own + k.removeprefix(its): v for k, v in tensors.items() if k.startswith(its)}
        return grown


def _length(tensors: Tensors, pattern: str) -> int:
    """How many there are, counted from 0, of a name with a number in it."""
    return next(number for number in count() if pattern.format(number) not in tensors)


_PAPER = Paper("Recursive: shared convolutions, after DRRN (CVPR 2017)", "edgesr")
_SCALES = (2, 3, 4)


def _counts(channels: int, kernels: int, passes: int) -> dict[int, int]:
    body = kernels * 9 * channels**2 + kernels * passes * 2 * channels
    return {scale: 10 * channels + body + (9 * channels + 1) * scale**2 for scale in _SCALES}


# Name, channels, kernels, passes: of the size of IMDN-RTC, of SESR-XL.
for _name, *_size in (("recursive-s", 32, 2, 7), ("recursive-l", 48, 5, 6)):
    register(_name, paper=_PAPER, scales=_SCALES, parameters=_counts(*_size), colour="y")(
        partial(Recursive, channels=_size[0], kernels=_size[1], passes=_size[2])
    )


def _sizes(tensors: Tensors) -> tuple[int, int, int] | None:
    kernel = tensors.get("kernels.0")
    if kernel is None or kernel.ndim != 4 or "passes.0.0.act.weight" not in tensors:
        return None
    return _length(tensors, "kernels.{}"), len(kernel), _length(tensors, "passes.{}.0.bias")


@register_family(
    "recursive-k{}c{}p{}", most={"kernels": 16, "channels": 512, "passes": 64}, sizes=_sizes
)
def _sized(name: str, kernels: int, channels: int, passes: int) -> Entry:
    build = partial(Recursive, channels=channels, kernels=kernels, passes=passes)
    return Entry(name, build, _PAPER, _SCALES, _counts(channels, kernels, passes), colour="y")

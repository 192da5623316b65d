"""Recursive: a few convolutions that the image passes several times, so depth costs no parameters.

Ours, after DRRN (Tai et al., "Image Super-Resolution via Deep Recursive Residual Network", CVPR
2017): every pass starts from what the last one found plus the first features (its figure 2d). What
differs: one plain stack in place of residual units, PReLU with slopes of each pass's own, in place
of batch norm and ReLU, and all of it at low resolution, before a pixel shuffle; luma only.

Few parameters for its quality; multiplications are those of a network as deep as all passes.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.prelu import PReLU
from edgesr.models.registry import Paper, register


class Recursive(nn.Module):
    """`3x3 -> (kernels, + 3x3's output) x passes -> 3x3 -> + nearest(x) -> pixel shuffle`.

    Args:
        scale: enlargement.
        channels: width of every layer but the last.
        kernels: 3x3 convolutions of one pass.
        passes: how often they are used.
    """

    def __init__(self, scale: int, channels: int, kernels: int, passes: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(1, channels, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(kernels)
        )
        self.acts = nn.ModuleList(
            nn.ModuleList(PReLU(channels) for _ in range(kernels)) for _ in range(passes)
        )
        self.tail = nn.Conv2d(channels, scale**2, 3, padding=1)
        for kernel in self.body.parameters():
            if kernel.ndim > 1:
                # A pass begins near the identity: several in a row neither fade nor explode.
                kernel.data.add_(nn.init.dirac_(torch.empty_like(kernel)))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        features = shallow
        for number, acts in enumerate(self.acts):
            if number:
                features = features + shallow
            for conv, act in zip(self.body, acts, strict=True):  # type: ignore[call-overload]
                features = act(conv(features))
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(self.tail(features + shallow) + anchor, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper("Recursive: shared convolutions, after DRRN (CVPR 2017)", "edgesr")
_SCALES = (2, 3, 4)


def _counts(channels: int, kernels: int, passes: int) -> dict[int, int]:
    square = 9 * channels**2
    body = kernels * (square + channels) + kernels * passes * channels
    return {scale: 10 * channels + body + (9 * channels + 1) * scale**2 for scale in _SCALES}


# Name, channels, kernels, passes.
for _name, *_size in (("recursive-s", 20, 5, 3), ("recursive-l", 32, 10, 2)):
    register(_name, paper=_PAPER, scales=_SCALES, parameters=_counts(*_size), colour="y")(
        partial(Recursive, channels=_size[0], kernels=_size[1], passes=_size[2])
    )

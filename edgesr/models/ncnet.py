"""NCNet: nearest convolution, a residual that NPUs run fast.

Luo et al., "Fast Nearest Convolution for Real-Time Efficient Image Super-Resolution", ECCV
Workshops 2022: seven 3x3 convolutions of 32 channels; the skip is a 1x1 convolution with fixed
one-hot weights that copies each colour scale^2 times (nearest-neighbour enlargement once the
pixels are shuffled).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Paper, register


class NCNet(nn.Module):
    """`(conv, ReLU) x blocks -> conv -> conv -> + nearest convolution(x) -> pixel shuffle`.

    Args:
        scale: enlargement.
        channels: width of the feature convolutions.
        blocks: number of convolutions with ReLU, the first included.
    """

    def __init__(self, scale: int, channels: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.scale = scale
        last = 3 * scale**2
        widths = [3] + [channels] * blocks
        self.body = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.widen = nn.Conv2d(channels, last, 3, padding=1)
        self.tail = nn.Conv2d(last, last, 3, padding=1)
        self.nearest: Tensor
        one_hot = torch.eye(3).repeat_interleave(scale**2, dim=0)
        self.register_buffer("nearest", one_hot[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in self.body:
            features = F.relu(conv(features))
        features = self.tail(F.relu(self.widen(features)))
        image = F.pixel_shuffle(features + F.conv2d(x, self.nearest), self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "Fast Nearest Convolution for Real-Time Efficient Image Super-Resolution",
    "ECCV Workshops 2022",
    "https://arxiv.org/abs/2208.11609",
)


@register("ncnet", paper=_PAPER, scales=(2, 3, 4), parameters={3: 52_279})
def ncnet(scale: int) -> nn.Module:
    return NCNet(scale)

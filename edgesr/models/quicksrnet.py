"""QuickSRNet: a plain net initialized as the identity.

Berger et al., "QuickSRNet: Plain Single-Image Super-Resolution Architecture for Faster Inference
on Mobile Platforms", CVPR Workshops 2023: 3x3 convolutions with ReLU clipped to 1, so that every
activation has the range of a pixel and quantizes with the same scale. Convolutions start as
`conv(x) + x`; the residual connections that other nets run at inference are in the weights.
Only Large adds the enlarged input to its output.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Paper, register


class QuickSRNet(nn.Module):
    """`(conv, ReLU1) x (blocks + 1) -> conv (+ nearest(x) with `link`) -> pixel shuffle -> clip`.

    Args:
        scale: enlargement.
        channels: width of every layer but the last.
        blocks: convolutions between head and tail.
        link: add the enlarged input to the output ("input-to-output connection").
    """

    def __init__(
        self, scale: int, channels: int = 32, blocks: int = 2, *, link: bool = False
    ) -> None:
        super().__init__()
        self.scale = scale
        self.link = link
        widths = [3] + [channels] * (blocks + 1)
        self.body = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.tail = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        self._start_as_identity()

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        """Add the identity to every kernel: colours pass through channels 0 to 2."""
        for conv in self.body:
            assert isinstance(conv, nn.Conv2d)
            both = range(min(conv.in_channels, conv.out_channels))
            conv.weight[both, both, 1, 1] += 1.0
        if not self.link:
            outputs = range(self.tail.out_channels)
            colours = [output // self.scale**2 for output in outputs]
            self.tail.weight[outputs, colours, 1, 1] += 1.0

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in self.body:
            features = F.hardtanh(conv(features), 0.0, 1.0)
        features = self.tail(features)
        if self.link:
            features = features + x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(features, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "QuickSRNet: Plain Single-Image Super-Resolution Architecture for Faster Inference on "
    "Mobile Platforms",
    "CVPR Workshops 2023",
    "https://arxiv.org/abs/2303.04336",
)


# Parameter counts: Qualcomm AI Hub, whose models are the authors' with scale 4.
@register(
    "quicksrnet-small", paper=_PAPER, scales=(2, 3, 4), parameters={4: 33_300}, tolerance=0.002
)
def quicksrnet_small(scale: int) -> nn.Module:
    return QuickSRNet(scale, channels=32, blocks=2)


@register(
    "quicksrnet-medium", paper=_PAPER, scales=(2, 3, 4), parameters={4: 61_000}, tolerance=0.002
)
def quicksrnet_medium(scale: int) -> nn.Module:
    return QuickSRNet(scale, channels=32, blocks=5)


@register(
    "quicksrnet-large", paper=_PAPER, scales=(2, 3, 4), parameters={4: 436_000}, tolerance=0.002
)
def quicksrnet_large(scale: int) -> nn.Module:
    return QuickSRNet(scale, channels=64, blocks=11, link=True)

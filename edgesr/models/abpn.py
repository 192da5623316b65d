"""ABPN: anchor-based plain net, the first int8 network to keep its quality on a phone.

Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution", CVPR Workshops 2021: the
image itself, each colour repeated scale^2 times (the anchor, nearest-neighbour enlargement once
the pixels are shuffled), is added to the output of a plain net of 3x3 convolutions. The residual
in image space is worth 0.3 dB after quantization (the authors' ablation).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Paper, register


class ABPN(nn.Module):
    """`(conv, ReLU) x (blocks + 2) -> conv -> + anchor(x) -> pixel shuffle -> clip`.

    Args:
        scale: enlargement.
        channels: width of the feature convolutions (28 in the paper; 32 fills int8 tiles).
        blocks: convolutions between the first one and the one that widens to 3 scale^2.
    """

    def __init__(self, scale: int, channels: int = 28, blocks: int = 4) -> None:
        super().__init__()
        self.scale = scale
        last = 3 * scale**2
        widths = [3] + [channels] * (blocks + 1) + [last]
        self.body = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.tail = nn.Conv2d(last, last, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in self.body:
            features = F.relu(conv(features))
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(self.tail(features) + anchor, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "Anchor-based Plain Net for Mobile Image Super-Resolution",
    "CVPR Workshops 2021",
    "https://arxiv.org/abs/2105.09750",
)


@register("abpn", paper=_PAPER, scales=(2, 3, 4), parameters={3: 42_540}, tolerance=0.0005)
def abpn(scale: int) -> nn.Module:
    return ABPN(scale)

"""Enhanced spatial attention, shared by RFDN and RLFN.

Liu et al., "Residual Feature Aggregation Network for Image Super-Resolution", CVPR 2020, section
3.3: a mask in [0, 1] computed on a map shrunk by a strided convolution and a strided maximum. The
strides start at the top left, so the mask depends on where a tile was cut: networks with it are
not exact under tiling.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

MIN_SIDE = 15
"""Smallest input side: the strided convolution must leave the 7x7 maximum a full window."""


class ESA(nn.Module):
    """`x * sigmoid(expand(enlarged(inner(pooled)) + skip(reduced)))`, sides of at least 15.

    Args:
        channels: width of the input and output.
        reduced: width of the mask's own features.
        inner: 3x3 convolutions on the pooled map, ReLU in between: 3 in RFDN, 1 in RLFN, whose
            authors found the other two idle.
    """

    def __init__(self, channels: int, reduced: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.skip = nn.Conv2d(reduced, reduced, 1)
        self.shrink = nn.Conv2d(reduced, reduced, 3, stride=2)
        self.inner = nn.ModuleList(nn.Conv2d(reduced, reduced, 3, padding=1) for _ in range(inner))
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        mask = F.max_pool2d(self.shrink(reduced), kernel_size=7, stride=3)
        for index, conv in enumerate(self.inner):
            mask = conv(F.relu(mask) if index else mask)
        size = (x.shape[2], x.shape[3])
        mask = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
        logits: Tensor = self.expand(mask + self.skip(reduced))
        return x * logits.sigmoid()

"""RCAN: very deep residual groups with channel attention.

Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV
2018. Works on 0..255. The attention averages a feature map over the whole image (section 3.3), so
no tile equals the whole.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.edsr import Upsampler, div2k_mean
from edgesr.models.registry import Paper, register


class ChannelAttention(nn.Module):
    """`x * sigmoid(conv(ReLU(conv(mean(x)))))`, one factor per channel (figure 3).

    Args:
        channels: width.
        reduction: by how much the middle is narrower.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        middle = max(1, channels // reduction)
        self.down = nn.Conv2d(channels, middle, 1)
        self.up = nn.Conv2d(middle, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        factor: Tensor = self.up(F.relu(self.down(mean))).sigmoid()
        return x * factor


class AttentionBlock(nn.Module):
    """`x + attention(conv(ReLU(conv(x))))` (figure 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.attention(self.second(F.relu(self.first(x))))
        return x + residual


class ResidualGroup(nn.Module):
    """`x + conv(blocks(x))` (section 3.2)."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AttentionBlock(channels) for _ in range(blocks)))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.fuse(self.blocks(x))
        return x + residual


class RCAN(nn.Module):
    """`- mean -> head -> groups -> fuse -> + head -> upsample -> tail -> + mean` (figure 2).

    Args:
        scale: enlargement.
        channels: width of the features.
        groups, blocks: residual groups, and blocks in each.
    """

    mean: Tensor

    def __init__(self, scale: int, channels: int = 64, groups: int = 10, blocks: int = 20) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.groups = nn.Sequential(*(ResidualGroup(channels, blocks) for _ in range(groups)))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = Upsampler(scale, channels)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        self.register_buffer("mean", div2k_mean(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x - self.mean)
        deep = self.fuse(self.groups(shallow)) + shallow
        image: Tensor = self.tail(self.upsample(deep)) + self.mean
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 255.0)


@register(
    "rcan",
    paper=Paper(
        "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
        "ECCV 2018",
        "https://arxiv.org/abs/1807.02758",
    ),
    scales=(2, 3, 4, 8),
    parameters={2: 15_440_000, 4: 15_590_000},
    tolerance=0.001,
    value_range=255.0,
    exact_tiling=False,
)
def rcan(scale: int) -> nn.Module:
    return RCAN(scale)

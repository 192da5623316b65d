"""IMDN: information multi-distillation, a quarter of the channels set aside at every step.

Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM
MM 2019. Its attention weighs channels by their contrast (standard deviation plus mean) over the
whole image, so the result of a tile differs from that of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.registry import Paper, register

_SLOPE = 0.05


class CCA(nn.Module):
    """Contrast-aware channel attention (section 3.3, equation 4).

    Args:
        channels: width of the map.
        reduction: how much narrower the layer between the two 1x1 convolutions is.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        contrast = (x - mean).pow(2).mean(dim=(2, 3), keepdim=True).sqrt()
        logits: Tensor = self.excite(F.relu(self.squeeze(contrast + mean)))
        return x * logits.sigmoid()


class IMDB(nn.Module):
    """Information multi-distillation block (figure 3): four steps, each keeps a quarter."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kept = channels // 4
        rest = channels - self.kept
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.steps = nn.ModuleList(nn.Conv2d(rest, channels, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(rest, self.kept, 3, padding=1)
        self.attention = CCA(channels)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = F.leaky_relu(self.first(x), _SLOPE)
        parts = [features[:, : self.kept]]
        for conv in self.steps:
            features = F.leaky_relu(conv(features[:, self.kept :]), _SLOPE)
            parts.append(features[:, : self.kept])
        parts.append(self.last(features[:, self.kept :]))
        mixed: Tensor = self.mix(self.attention(torch.cat(parts, dim=1)))
        return mixed + x


class IMDN(nn.Module):
    """`head -> IMDB x blocks, all gathered -> fuse -> + head -> upsample`.

    Args:
        scale: enlargement.
        channels: width of the features.
        blocks: distillation blocks.
    """

    def __init__(self, scale: int, channels: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(IMDB(channels) for _ in range(blocks))
        self.gather = nn.Conv2d(blocks * channels, channels, 1)
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = features = self.head(x)
        gathered = []
        for block in self.blocks:
            features = block(features)
            gathered.append(features)
        deep = F.leaky_relu(self.gather(torch.cat(gathered, dim=1)), _SLOPE)
        image = F.pixel_shuffle(self.upsample(self.fuse(deep) + shallow), self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else torch.clamp(image, 0.0, 1.0)


_PAPER = Paper(
    "Lightweight Image Super-Resolution with Information Multi-distillation Network",
    "ACM MM 2019",
    "https://arxiv.org/abs/1909.11856",
)


@register(
    "imdn",
    paper=_PAPER,
    scales=(2, 3, 4),
    parameters={2: 694_404, 3: 703_059, 4: 715_176},
    exact_tiling=False,
)
def imdn(scale: int) -> nn.Module:
    return IMDN(scale)

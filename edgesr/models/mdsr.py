"""MDSR: one trunk for x2, x3 and x4, with a head of its own for every scale.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops
2017, section 3.3. Works on 0..255. One module holds the heads of all scales, as its checkpoints
do, and runs the one it was built for; an export keeps that one only.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgesr.models.edsr import ResidualBlock, Upsampler, div2k_mean
from edgesr.models.registry import Paper, register

SCALES = (2, 3, 4)


class MDSR(nn.Module):
    """`- mean -> head -> pre[scale] -> trunk -> + -> upsample[scale] -> tail -> + mean`.

    Args:
        scale: enlargement that `forward` does; change the attribute for another one.
        channels: width of the features.
        blocks: residual blocks of the trunk.
    """

    mean: Tensor

    def __init__(self, scale: int, channels: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.pre = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(channels, kernel=5) for _ in range(2))) for _ in SCALES
        )
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.ModuleList(Upsampler(s, channels) for s in SCALES)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)
        self.register_buffer("mean", div2k_mean(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        index = SCALES.index(self.scale)
        shallow = self.pre[index](self.head(x - self.mean))
        deep = self.fuse(self.blocks(shallow)) + shallow
        image: Tensor = self.tail(self.upsample[index](deep)) + self.mean
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 255.0)


_PAPER = Paper(
    "Enhanced Deep Residual Networks for Single Image Super-Resolution (MDSR)",
    "CVPR Workshops 2017",
    "https://arxiv.org/abs/1707.02921",
)


@register(
    "mdsr",
    paper=_PAPER,
    scales=SCALES,
    parameters=dict.fromkeys(SCALES, 8_000_000),
    tolerance=0.01,
    value_range=255.0,
)
def mdsr(scale: int) -> nn.Module:
    return MDSR(scale, blocks=80)


@register(
    "mdsr-baseline",
    paper=_PAPER,
    scales=SCALES,
    parameters=dict.fromkeys(SCALES, 3_227_203),
    value_range=255.0,
)
def mdsr_baseline(scale: int) -> nn.Module:
    return MDSR(scale)

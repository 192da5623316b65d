"""SESR: wide linear blocks in training, a narrow plain net with two long residuals at deployment.

Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution", MLSys 2022: each
convolution is a k x k expansion to 256 channels and a 1x1 projection, without bias and without
activation between; 5x5 first and last, 3x3 between, these with a short residual over the pair
(section 3.1); luma only.

Left out of the authors' code: it subtracts 0.5 from the input of the first block. A shift before
zero padding is no bias at the border, and the paper has none.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.prelu import PReLU
from edgesr.models.registry import Paper, register


class LinearBlock(nn.Module):
    """`k x k` to `width` channels, `1 x 1` to `out_channels`, plus the input if `residual`.

    In training the two kernels are composed and one convolution is run over the image, as the
    paper does (section 3.3: 1.8 instead of 42 GMAC a step); in evaluation the layers stand as
    written, and `collapse` proves that they are one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        width: int,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.expand = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2, bias=False)
        self.project = nn.Conv2d(width, out_channels, 1, bias=False)
        self.residual = residual

    def kernel(self) -> Tensor:
        """The one kernel that the block adds up to."""
        kernel = torch.einsum("om,mihw->oihw", self.project.weight[:, :, 0, 0], self.expand.weight)
        if self.residual:
            eye = torch.eye(kernel.shape[0], device=kernel.device, dtype=kernel.dtype)
            margin = kernel.shape[-1] // 2
            kernel = kernel + F.pad(eye[:, :, None, None], (margin,) * 4)
        return kernel

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.conv2d(x, self.kernel(), padding=self.expand.padding)  # type: ignore[arg-type]
        features: Tensor = self.project(self.expand(x))
        return features + x if self.residual else features

    @torch.no_grad()
    def collapsed(self) -> nn.Conv2d:
        """The k x k convolution this block is: what is counted as deployed."""
        kernel = self.kernel()
        size = kernel.shape[-1]
        ends = self.expand.in_channels, self.project.out_channels
        conv = nn.Conv2d(*ends, size, padding=size // 2, bias=False)
        conv.weight = nn.Parameter(kernel)
        return conv


class SESR(nn.Module):
    """`5x5 -> (block, PReLU) x blocks -> + 5x5's output -> 5x5 -> + nearest(x) -> pixel shuffle`.

    Args:
        scale: enlargement.
        channels: width between blocks (f in the paper).
        blocks: number of 3x3 blocks (m in the paper).
        width: channels inside a block, in training (p in the paper).
    """

    def __init__(self, scale: int, channels: int = 16, blocks: int = 5, width: int = 256) -> None:
        super().__init__()
        self.scale = scale
        self.head = LinearBlock(1, channels, 5, width)
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    LinearBlock(channels, channels, 3, width, residual=True), PReLU(channels)
                )
                for _ in range(blocks)
            )
        )
        self.tail = LinearBlock(channels, scale**2, 5, width)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        features = self.tail(self.body(shallow) + shallow)
        anchor = x.repeat_interleave(self.scale**2, dim=1)
        image = F.pixel_shuffle(features + anchor, self.scale)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


_PAPER = Paper(
    "Collapsible Linear Blocks for Super-Efficient Super Resolution",
    "MLSys 2022",
    "https://arxiv.org/abs/2103.09404",
)

# The paper counts the weights of the collapsed convolutions; the slopes of PReLU come on top.
_TOLERANCE = 0.007


def _counts(channels: int, blocks: int) -> dict[int, int]:
    ends, middle = 25 * channels, blocks * 9 * channels**2
    return {scale: ends + middle + ends * scale**2 for scale in (2, 4)}


# Name, channels, blocks, width. M8 is not in the paper: the size of IMDN-RTC.
for _name, _channels, _blocks, _width in (
    ("sesr-m3", 16, 3, 256),
    ("sesr-m5", 16, 5, 256),
    ("sesr-m7", 16, 7, 256),
    ("sesr-m8", 16, 8, 64),
    ("sesr-m11", 16, 11, 64),
    ("sesr-xl", 32, 11, 64),
):
    register(
        _name,
        paper=_PAPER,
        scales=(2, 4),
        parameters=_counts(_channels, _blocks),
        tolerance=_TOLERANCE,
        colour="y",
    )(partial(SESR, channels=_channels, blocks=_blocks, width=_width))

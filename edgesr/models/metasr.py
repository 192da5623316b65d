"""Meta-SR: the weights of the last layer are predicted from the place of each output pixel.

Hu et al., "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution", CVPR 2019. Output
pixel `i` belongs to input pixel `floor(i / r)` (location projection, section 3.2); two fully
connected layers read `(i / r - floor(i / r), j / r - floor(j / r), 1 / r)` and give the filter of
3x3 inputs (weight prediction, eq. 5 and 6). One scale both ways. The paper's best body is RDN; here
EDSR (baseline), its second one, and Plain.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.any_scale import AnyScale
from edgesr.models.edsr import ResidualBlock, div2k_mean
from edgesr.models.enlarge import Enlarge, Nearest, Part, Window
from edgesr.models.plain import BranchedConv
from edgesr.models.registry import Paper, register
from edgesr.models.sites import Sites
from edgesr.scales import Scale


class MetaUpscale(Part):
    """Features to an image, each output pixel with a 3x3 filter of its own.

    The second layer is linear, so a filter is the sum of as many fixed ones as there are hidden
    units, weighted by them: these run as one convolution, and no filter is formed.

    Args:
        channels: of the features.
        hidden: units of the first layer.
    """

    def __init__(self, channels: int, hidden: int = 256) -> None:
        super().__init__()
        self.channels = channels
        self.first = nn.Linear(3, hidden)
        self.second = nn.Linear(hidden, 3 * channels * 9)

    def forward(self, x: Tensor, rows: Sites, columns: Sites) -> Tensor:
        hidden = self._hidden(rows, columns)
        fixed = torch.cat([self.second.weight, self.second.bias[:, None]], dim=1)
        weights = torch.cat([hidden, torch.ones_like(hidden[:1])])[None]
        colours = []
        for filters in fixed.unflatten(0, (3, self.channels, 3, 3)):  # type: ignore[no-untyped-call]
            maps = F.conv2d(x, filters.permute(3, 0, 1, 2), padding=1)
            placed = maps.index_select(2, _pixel(rows)).index_select(3, _pixel(columns))
            colours.append((placed * weights).sum(dim=1, keepdim=True))
        return torch.cat(colours, dim=1)

    def reach(self, rows: Sites, columns: Sites) -> tuple[int, int]:
        return 1, 1

    def filters(self, rows: Sites, columns: Sites, window: Window) -> Tensor:
        predicted = self.second(self._hidden(rows, columns).permute(1, 2, 0))
        kernels = predicted.unflatten(2, (3, self.channels, 3, 3))
        down, across = (
            (_pixel(axis)[:, None, None] + torch.arange(-1, 2)[:, None] == covered).to(covered)
            for axis, covered in zip((rows, columns), window, strict=True)
        )
        return torch.einsum("hwjkyx,hyn,wxm->hwjknm", kernels, down, across)

    def _hidden(self, rows: Sites, columns: Sites) -> Tensor:
        """`hidden x H x W`."""
        down, across = _within(rows), _within(columns)
        size = (down.shape[0], across.shape[0])
        values = (down[:, None], across[None], rows.inverse)
        place = torch.cat([value.expand(size)[..., None] for value in values], dim=-1)
        return F.relu(self.first(place)).permute(2, 0, 1)


def _start(axis: Sites) -> Tensor:
    """`i / r` of the output pixels; the small step keeps whole numbers whole."""
    return axis.centre[1:-1] + 0.5 - 0.5 * axis.inverse + 1e-4


def _pixel(axis: Sites) -> Tensor:
    return _start(axis).floor().long()


def _within(axis: Sites) -> Tensor:
    return _start(axis) - _start(axis).floor() - 1e-4


class MetaPlain(AnyScale):
    """Plain's body, meta-upscale for the rest."""

    symmetric = True

    def __init__(self, scale: Scale, channels: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(
            *(
                nn.Sequential(BranchedConv(a, b), nn.ReLU())
                for a, b in pairwise([3] + [channels] * blocks)
            )
        )
        self.upsample = Enlarge(MetaUpscale(channels), Nearest())

    def enlarge(self, x: Tensor, rows: Sites, columns: Sites, upsample: nn.Module) -> Tensor:
        image: Tensor = upsample([self.body(x), x], rows, columns)
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 1.0)


class MetaEDSR(AnyScale):
    """EDSR's body, meta-upscale for the rest (Meta-EDSR, table 3)."""

    symmetric = True
    mean: Tensor

    def __init__(self, scale: Scale, channels: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = Enlarge(MetaUpscale(channels))
        self.register_buffer("mean", div2k_mean(), persistent=False)

    def enlarge(self, x: Tensor, rows: Sites, columns: Sites, upsample: nn.Module) -> Tensor:
        shallow = self.head(x - self.mean)
        deep = self.fuse(self.blocks(shallow)) + shallow
        image: Tensor = upsample([deep], rows, columns) + self.mean
        # Clipped pixels would get no gradient.
        return image if self.training else image.clamp(0.0, 255.0)


_PAPER = Paper(
    "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution",
    "CVPR 2019",
    "https://arxiv.org/abs/1903.00875",
)


@register("metasr-plain", paper=_PAPER, scales=(2, 3, 4), any_scale=(1.0, 5.0), symmetric=True)
def metasr_plain(scale: Scale) -> nn.Module:
    return MetaPlain(scale)


@register(
    "metasr-edsr-baseline", paper=_PAPER, scales=(2, 3, 4), value_range=255.0,
    any_scale=(1.0, 5.0), symmetric=True,
)  # fmt: skip
def metasr_edsr_baseline(scale: Scale) -> nn.Module:
    return MetaEDSR(scale)

"""Dual regression: an enlarged image must lead back to the small one it came from.

Guo et al., CVPR 2020. With pairs (eq. 1), over all levels i of a DRN:

    sum |P_i(x) - y_i|  +  weight * sum |D_i(P_i(x)) - x_i|

where P_i(x) is the image at level i, y_i the original at that size, D_i the dual head, and x_i the
original one level below (the input itself at the lowest). Without originals only the second sum is
left, so a network can learn from real low-resolution photos that nobody has in high resolution
(algorithm 1): a share `ratio` of every batch is then unpaired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.data.images import Image
from edgesr.errors import UsageError
from edgesr.models.drn import DRN, DualHeads
from edgesr.train.unit import Unit

WEIGHT = 0.1
"""Of the dual loss (section 4.1)."""
RATIO = 0.3
"""Unpaired share of a batch (section 5.3: 30 % does best)."""


class DualRegression(nn.Module):
    """An objective for `edgesr.train.loop.train`; its dual heads learn along with the network.

    Args:
        scale: of the network.
        weight: of the dual loss; 0 trains the network alone.
        unpaired: low-resolution photos without originals, uint8 HxWx3.
        ratio: share of every batch that is taken from `unpaired`.

    Raises:
        UsageError: the ratio is no share, or there is nothing to take it from.
    """

    def __init__(
        self,
        scale: int,
        *,
        weight: float = WEIGHT,
        unpaired: Sequence[Image] = (),
        ratio: float = RATIO,
    ) -> None:
        super().__init__()
        if not 0 <= ratio < 1:
            raise UsageError(
                f"an unpaired share of {ratio} makes no sense; give 0 up to 1, e.g. 0.3"
            )
        self.heads = DualHeads(scale)
        self.weight = weight
        self.unpaired = tuple(unpaired)
        self.ratio = ratio if unpaired else 0.0

    def forward(self, student: Unit, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        if not isinstance(student.module, DRN):
            raise UsageError("dual regression needs a network with an image at every scale: drn-s")
        lows = torch.cat([lr, self._drawn(round(len(lr) * self.ratio / (1 - self.ratio)), lr)])
        images = [image.float() / student.value_range for image in
                  student.module.images(lows * student.value_range)]  # fmt: skip
        targets = [lr, *pyramid(hr, len(images))[1:]]
        paired = [image[: len(hr)] for image in images]
        primal = [F.l1_loss(image, target) for image, target in zip(paired, targets, strict=True)]
        loss = torch.stack(primal).sum()
        if self.weight:
            loss = loss + self.weight * self._dual(images, [lows, *targets[1:-1]])
        return loss

    def _dual(self, images: list[Tensor], lows: list[Tensor]) -> Tensor:
        """Sum over the levels. Above the input an unpaired image's own level stands for y_i."""
        back = self.heads(images)
        losses = []
        for returned, original, image in zip(back, lows, images, strict=False):
            missing = image[len(original) :].detach()
            losses.append(F.l1_loss(returned.float(), torch.cat([original, missing])))
        return torch.stack(losses).sum()

    def _drawn(self, count: int, like: Tensor) -> Tensor:
        """Patches of unpaired photos, of the size of the paired ones."""
        height, width = like.shape[2:]
        patches = []
        for _ in range(count):
            photo = self.unpaired[int(torch.randint(len(self.unpaired), ()))]
            if photo.shape[0] < height or photo.shape[1] < width:
                raise UsageError(
                    f"an unpaired photo is {photo.shape[1]}x{photo.shape[0]}, smaller than a patch "
                    f"of {width}x{height}; leave it out or give a smaller patch"
                )
            y = int(torch.randint(photo.shape[0] - height + 1, ()))
            x = int(torch.randint(photo.shape[1] - width + 1, ()))
            cut = np.ascontiguousarray(photo[y : y + height, x : x + width])
            patches.append(torch.from_numpy(cut).permute(2, 0, 1).float() / 255)
        return torch.stack(patches).to(like) if patches else like[:0]


def pyramid(hr: Tensor, levels: int) -> list[Tensor]:
    """The originals at every level, smallest first: each half of the next, by bicubic."""
    images = [hr]
    for _ in range(levels - 1):
        half = F.interpolate(
            images[0], scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False
        )
        images.insert(0, half)
    return images

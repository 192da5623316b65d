"""What two images differ by: one kind of loss per file.

Every loss takes `sr` and `hr`, NxCxHxW in [0, 1], and gives a scalar, the mean over the batch.
`LOSSES` holds them by the names recipes use, as modules called with `(sr, hr, lr)`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from edgesr.train.losses.contrastive import Contrastive
from edgesr.train.losses.frequency import dct, fft
from edgesr.train.losses.pixel import charbonnier, l1, l2, psnr
from edgesr.train.losses.ssim import ssim

__all__ = ["LOSSES", "Contrastive", "charbonnier", "dct", "fft", "l1", "l2", "psnr", "ssim"]


class _Plain(nn.Module):
    """A loss that needs neither the input nor weights of its own."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, sr: Tensor, hr: Tensor, lr: Tensor) -> Tensor:
        return self.function(sr, hr)


def _plain(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: _Plain(function)


LOSSES: dict[str, Callable[[], nn.Module]] = {
    **{f.__name__: _plain(f) for f in (l1, l2, charbonnier, psnr, ssim, fft, dct)},
    "contrastive": Contrastive,
}

"""LR consistency: does an enlarged image, reduced again, give the image it came from?

Needs no original, so it works on any photo. It catches what a network invents (shifted colours,
wrong brightness, hallucinated structure larger than a pixel), and says nothing about detail beyond
the input's reach: bicubic enlargement, which invents nothing, scores well. DRN (Guo et al., CVPR
2020, eq. 1) trains a network to keep it.
"""

from __future__ import annotations

from edgesr.data.bicubic import imresize
from edgesr.data.degradations.gaussian import Kernel, Method, blur_downscale
from edgesr.errors import UnsupportedError
from edgesr.metrics.psnr import Image, Protocol, psnr
from edgesr.scales import Scale, factors, scale_text

ON_INPUT = Protocol(colour="Y", shave=2)
"""Two pixels of the low-resolution border are cut: there the reduction mirrors."""


def lr_consistency(
    sr: Image,
    lr: Image,
    scale: Scale,
    *,
    kernel: Kernel | None = None,
    method: Method = "direct",
) -> float:
    """PSNR in dB, on luma, between the reduced output and the input.

    Args:
        sr: uint8 sH x sW x 3.
        lr: uint8 H x W x 3, what `sr` was made from.
        scale: their ratio.
        kernel: the blur of the reduction; None is MATLAB's bicubic reduction.
        method: what follows the blur.

    Raises:
        SizeMismatchError: the reduced output is not of the input's size.
    """
    if kernel is None:
        vertical, horizontal = factors(scale)
        reduced = imresize(sr, (1 / vertical, 1 / horizontal))
    else:
        if not isinstance(scale, int):
            raise UnsupportedError(f"a blur is reduced by whole steps, not by {scale_text(scale)}")
        reduced = blur_downscale(sr, kernel, scale, method)
    return psnr(reduced, lr, scale, ON_INPUT)

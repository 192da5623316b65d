"""LR consistency: does an enlarged image, reduced again, give the image it came from?

Needs no original, so it works on any photo. It catches what a network invents (shifted colours,
wrong brightness, hallucinated structure larger than a pixel), and says nothing about detail beyond
the input's reach: bicubic enlargement, which invents nothing, scores well. DRN (Guo et al., CVPR
2020, eq. 1) trains a network to keep it.
"""

from __future__ import annotations

from edgesr.data.bicubic import imresize
from edgesr.data.degradations.gaussian import Kernel, Method, blur_downscale
from edgesr.errors import SizeMismatchError
from edgesr.metrics.psnr import Image, Protocol, psnr

ON_INPUT = Protocol(colour="Y", shave=2)
"""Two pixels of the low-resolution border are cut: there the reduction mirrors."""


def lr_consistency(
    sr: Image, lr: Image, *, kernel: Kernel | None = None, method: Method = "direct"
) -> float:
    """PSNR in dB, on luma, between the reduced output and the input.

    Args:
        sr: uint8 H' x W' x 3.
        lr: uint8 H x W x 3, what `sr` was made from; their sizes say the scale.
        kernel: the blur of the reduction; None is MATLAB's bicubic reduction.
        method: what follows the blur.

    Raises:
        SizeMismatchError: the output is smaller than the input; after a blur, no whole multiple.
    """
    rows, columns = lr.shape[0] / sr.shape[0], lr.shape[1] / sr.shape[1]
    if max(rows, columns) > 1:
        raise SizeMismatchError(
            f"the output is {sr.shape[1]}x{sr.shape[0]}, smaller than its input, "
            f"{lr.shape[1]}x{lr.shape[0]}"
        )
    if kernel is None:
        reduced = imresize(sr, (rows, columns))
    else:
        reduced = blur_downscale(sr, kernel, round(1 / rows), method)
    return psnr(reduced, lr, 1, ON_INPUT)

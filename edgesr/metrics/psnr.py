"""PSNR as super-resolution papers report it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgesr.data.colour import luma
from edgesr.errors import SizeMismatchError
from edgesr.scales import Scale, factors

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Protocol:
    """How a figure was measured; printed beside every figure."""

    colour: Literal["Y", "RGB"] = "Y"
    shave: int | None = None
    """Pixels cut from each border; None means the scale, the larger one, rounded up."""
    rounding: str = "uint8"
    lowres: str = "MATLAB bicubic, uint8 after each pass"

    def border(self, scale: Scale) -> int:
        """Pixels cut from each border at this scale."""
        return math.ceil(max(factors(scale))) if self.shave is None else self.shave

    def __str__(self) -> str:
        colour = "Y (BT.601)" if self.colour == "Y" else "RGB"
        shave = "shave = scale" if self.shave is None else f"shave {self.shave}"
        return f"{colour}, {shave}, SR rounded to {self.rounding}, LR by {self.lowres}"


LITERATURE = Protocol()
RGB = Protocol(colour="RGB")


def compared_planes(
    sr: Image, hr: Image, scale: Scale, protocol: Protocol
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Both images in the protocol's colour space with its border cut.

    Raises:
        SizeMismatchError: the images differ in size, or are smaller than their border.
    """
    if sr.shape != hr.shape:
        ratio = hr.shape[0] / max(sr.shape[0], 1)
        raise SizeMismatchError(
            f"images differ in size: {sr.shape[1]}x{sr.shape[0]} against "
            f"{hr.shape[1]}x{hr.shape[0]}; the heights suggest a scale off by {ratio:.3g}"
        )
    border = protocol.border(scale)
    if min(sr.shape[:2]) <= 2 * border:
        raise SizeMismatchError(
            f"{sr.shape[1]}x{sr.shape[0]} is nothing but border: {border} pixels are cut a side"
        )
    inner = np.s_[border : sr.shape[0] - border, border : sr.shape[1] - border]
    if protocol.colour == "Y":
        return luma(sr)[inner], luma(hr)[inner]
    return sr[inner].astype(np.float64), hr[inner].astype(np.float64)


def psnr(sr: Image, hr: Image, scale: Scale, protocol: Protocol = LITERATURE) -> float:
    """Peak signal-to-noise ratio in dB, peak 255.

    Args:
        sr, hr: uint8 HxWx3, RGB, same size.
        scale: decides the border that is cut when the protocol says `shave = scale`.
        protocol: colour space, border and rounding.

    Returns:
        dB; `inf` for identical images.

    Raises:
        SizeMismatchError: the images differ in size.

    Y of BT.601 as in MATLAB's rgb2ycbcr; shave = scale, after Timofte et al., ACCV 2014.
    """
    a, b = compared_planes(sr, hr, scale, protocol)
    error = float(np.mean((a - b) ** 2))
    return math.inf if error == 0 else 10.0 * math.log10(255.0**2 / error)

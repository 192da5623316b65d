"""BT.601 luma and chroma, as MATLAB's `rgb2ycbcr` defines them for 8-bit images.

Y runs from 16 to 235, Cb and Cr from 16 to 240. Networks that see only luma (ESPCN, FSRCNN, ECBSR,
SESR ...) were trained on this Y divided by 255; chroma is then enlarged with bicubic. Values stay
floats between the two conversions: a round trip gives back every one of the 2^24 colours.

The coefficients are whole thousandths, so Y rounds without any float, and what is left is spelled
out in float64: the app and the page of `edgesr serve` give the same bytes. A matrix product would
not even give the same ones for the same colour elsewhere in the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgesr.data import bicubic

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

NUMERATORS = ((65481, 128553, 24966), (-37797, -74203, 112000), (112000, -93786, -18214))
"""Rows: Y, Cb, Cr out of R, G, B in 0..255, times `DENOMINATOR`, without their offsets."""
DENOMINATOR = 255_000
OFFSET = (16, 128, 128)

_FROM_RGB = np.array(NUMERATORS) / DENOMINATOR


def _inverse() -> tuple[tuple[float, ...], ...]:
    """By cofactors in whole numbers, one rounding each: every language gets the same."""
    m = NUMERATORS

    def minor(r: int, c: int) -> int:
        (r1, r2), (c1, c2) = (((i + 1) % 3, (i + 2) % 3) for i in (r, c))
        return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]

    determinant = sum(m[0][c] * minor(0, c) for c in range(3))
    return tuple(
        tuple(DENOMINATOR * minor(row, column) / determinant for row in range(3))
        for column in range(3)
    )


TO_RGB = _inverse()
"""Rows: R, G, B out of Y, Cb, Cr less their offsets."""


def luma(image: Image) -> npt.NDArray[np.float64]:
    """Y in 16..235, not rounded. HxWx3 in, HxW out."""
    y: npt.NDArray[np.float64] = image.astype(np.float64) @ _FROM_RGB[0] + OFFSET[0]
    return y


def to_ycbcr(image: Image) -> Floats:
    """Y, Cb, Cr of an RGB image in MATLAB's 8-bit ranges, not rounded. uint8 HxWx3 in."""
    return _floats(_planes(image), (0, 1, 2))


def _planes(image: Image) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(np.moveaxis(image, -1, 0), np.int32)


def _floats(planes: npt.NDArray[np.int32], channels: Sequence[int]) -> Floats:
    out = np.empty((*planes.shape[1:], len(channels)), np.float32)
    for place, channel in enumerate(channels):
        out[..., place] = _weighed(planes, channel) / DENOMINATOR + OFFSET[channel]
    return out


def _weighed(planes: npt.NDArray[np.int32], channel: int) -> npt.NDArray[np.int32]:
    red, green, blue = NUMERATORS[channel]
    weighed: npt.NDArray[np.int32] = red * planes[0] + green * planes[1] + blue * planes[2]
    return weighed


def to_rgb(ycbcr: Floats) -> Image:
    """The image of `to_ycbcr`'s values: rounded to nearest, clipped to 0..255."""
    y, cb, cr = (ycbcr[..., i].astype(np.float64) - OFFSET[i] for i in range(3))
    image = np.empty(ycbcr.shape, np.uint8)
    for channel, (of_y, of_cb, of_cr) in enumerate(TO_RGB):
        value = of_y * y + of_cb * cb + of_cr * cr
        image[..., channel] = np.clip(np.floor(value + 0.5), 0, 255)
    return image


def split(image: Image) -> tuple[Image, Floats]:
    """What a luma network reads, and what it leaves alone.

    Returns:
        Y rounded to uint8, HxWx1; Cb and Cr, float HxWx2.
    """
    planes = _planes(image)
    y = (_weighed(planes, 0) + DENOMINATOR // 2) // DENOMINATOR + OFFSET[0]
    return y.astype(np.uint8)[..., None], _floats(planes, (1, 2))


def join(luma: Image | Floats, chroma: Floats) -> Image:
    """An enlarged Y with its chroma enlarged to fit by bicubic.

    Args:
        luma: sH x sW x 1, uint8 or float, in Y's range of 16..235.
        chroma: H x W x 2, as `split` gave it.

    Returns:
        uint8 RGB, sH x sW x 3. Memory beyond it does not grow with the image.
    """
    out = np.empty((*luma.shape[:2], 3), np.uint8)
    scale = (luma.shape[0] / chroma.shape[0], luma.shape[1] / chroma.shape[1])
    for row, strip in bicubic.strips(chroma, scale):
        rows = np.s_[row : row + len(strip)]
        out[rows] = to_rgb(np.concatenate([luma[rows].astype(np.float32), strip], axis=2))
    return out

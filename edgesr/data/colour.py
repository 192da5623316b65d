"""BT.601 luma and chroma, as MATLAB's `rgb2ycbcr` defines them for 8-bit images.

Y runs from 16 to 235, Cb and Cr from 16 to 240. Networks that see only luma (ESPCN, FSRCNN, ECBSR,
SESR ...) were trained on this Y divided by 255; chroma is then enlarged with bicubic. Values stay
floats between the two conversions: a round trip gives back every one of the 2^24 colours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesr.data import bicubic

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_FROM_RGB = (
    np.array(
        [
            [65.481, 128.553, 24.966],
            [-37.797, -74.203, 112.0],
            [112.0, -93.786, -18.214],
        ]
    )
    / 255.0
)
"""Rows: Y, Cb, Cr out of R, G, B in 0..255."""
_TO_RGB = np.linalg.inv(_FROM_RGB)
_OFFSET = np.array([16.0, 128.0, 128.0])


def luma(image: Image) -> npt.NDArray[np.float64]:
    """Y in 16..235, not rounded. HxWx3 in, HxW out."""
    y: npt.NDArray[np.float64] = image.astype(np.float64) @ _FROM_RGB[0] + _OFFSET[0]
    return y


def to_ycbcr(image: Image) -> Floats:
    """Y, Cb, Cr of an RGB image in MATLAB's 8-bit ranges, not rounded. uint8 HxWx3 in."""
    return (image.astype(np.float32) @ _FROM_RGB.T.astype(np.float32)) + _OFFSET.astype(np.float32)


def to_rgb(ycbcr: Floats) -> Image:
    """The image of `to_ycbcr`'s values: rounded to nearest, clipped to 0..255."""
    rgb = (ycbcr - _OFFSET.astype(np.float32)) @ _TO_RGB.T.astype(np.float32)
    image: Image = np.clip(np.floor(rgb + 0.5), 0, 255).astype(np.uint8)
    return image


def split(image: Image) -> tuple[Image, Floats]:
    """What a luma network reads, and what it leaves alone.

    Returns:
        Y rounded to uint8, HxWx1; Cb and Cr, float HxWx2.
    """
    ycbcr = to_ycbcr(image)
    return np.floor(ycbcr[..., :1] + 0.5).astype(np.uint8), ycbcr[..., 1:]


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

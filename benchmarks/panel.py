"""A strip of crops side by side: what a number hides, an eye finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

Image = npt.NDArray[np.uint8]

_MARGIN = 8
_CAPTION = 22


def amplified_difference(a: Image, b: Image, gain: int = 8) -> Image:
    """`gain * |a - b|`, clipped to 255. uint8 HxWx3, same size."""
    difference = np.abs(a.astype(np.int16) - b.astype(np.int16)) * gain
    clipped: Image = np.clip(difference, 0, 255).astype(np.uint8)
    return clipped


def busiest_crop(image: Image, side: int) -> tuple[int, int]:
    """Top-left corner of the `side` x `side` window with the most gradient, on a coarse grid."""
    side = min(side, *image.shape[:2])
    grey = image.astype(np.float32).mean(axis=2)
    energy = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    step = max(1, side // 4)
    corners = [
        (y, x)
        for y in range(0, image.shape[0] - side + 1, step)
        for x in range(0, image.shape[1] - side + 1, step)
    ]
    return max(corners, key=lambda c: float(energy[c[0] : c[0] + side, c[1] : c[1] + side].sum()))


def panel(rows: Sequence[Mapping[str, Image]], zoom: int = 1) -> Image:
    """Lay out one row of captioned pictures per mapping, all rows on one white sheet.

    Args:
        rows: caption to uint8 HxWx3 picture; equal sizes within a row.
        zoom: whole-number enlargement of every picture, by repeating pixels.
    """
    font = ImageFont.load_default(size=14)
    strips = []
    for row in rows:
        cells = []
        for caption, picture in row.items():
            large = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
            cell = Pillow.new("RGB", (large.shape[1], large.shape[0] + _CAPTION), "white")
            cell.paste(Pillow.fromarray(large), (0, _CAPTION))
            ImageDraw.Draw(cell).text((2, 2), caption, fill="black", font=font)
            cells.append(np.pad(np.asarray(cell), _border(), constant_values=255))
        strips.append(np.concatenate(cells, axis=1))
    width = max(strip.shape[1] for strip in strips)
    filled = [
        np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255)
        for strip in strips
    ]
    return np.concatenate(filled, axis=0)


def _border() -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    half = _MARGIN // 2
    return ((half, half), (half, half), (0, 0))

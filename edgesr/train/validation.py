"""How good a network is while it learns: PSNR with its protocol, and pictures to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from edgesr.data.bicubic import Image, crop_to_multiple, imresize
from edgesr.data.colour import join, split
from edgesr.data.images import read_image
from edgesr.errors import BadFileError
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.metrics.psnr import Protocol as Measure
from edgesr.network import Colour
from edgesr.train.patches import find_images
from edgesr.train.unit import Unit

Pair = tuple[Image, Image]
"""A low-resolution image and its original, uint8 HxWx3."""

_TILE = 96
"""Side of a picture in the grid."""
_ROWS = 4


@dataclass(frozen=True)
class Score:
    """A validation."""

    decibels: float
    protocol: str
    pictures: Image | None = None
    """Rows of bicubic, network and original, side by side."""


class Validation(Protocol):
    """Anything that judges a student, called with a `Unit` in evaluation mode."""

    def __call__(self, student: Unit) -> Score: ...


@dataclass(frozen=True)
class PsnrOn:
    """Mean PSNR over low-resolution images and their originals."""

    pairs: Sequence[Pair]
    scale: int
    colour: Colour = "rgb"
    protocol: Measure = LITERATURE

    @classmethod
    def folder(
        cls, folder: Path, scale: int, colour: Colour = "rgb", *, limit: int | None = None
    ) -> PsnrOn:
        """The images below a folder, reduced with MATLAB's bicubic.

        Args:
            limit: take so many of them, evenly spread over the list.

        Raises:
            BadFileError: there is none, or one cannot be read.
        """
        paths = find_images([folder])
        if limit is not None and limit < len(paths):
            paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit).astype(int)]
        originals = [crop_to_multiple(read_image(path).pixels, scale) for path in paths]
        return cls([(imresize(hr, 1 / scale), hr) for hr in originals], scale, colour)

    def __call__(self, student: Unit) -> Score:
        if not self.pairs:
            raise BadFileError("no image to validate on")
        values: list[float] = []
        rows: list[Image] = []
        for lr, hr in self.pairs:
            sr = enlarge(student, lr, self.colour)
            values.append(psnr(sr, hr, self.scale, self.protocol))
            if len(rows) < _ROWS:
                rows.append(_row(lr, sr, hr, self.scale))
        return Score(float(np.mean(values)), str(self.protocol), np.concatenate(rows))


@torch.no_grad()
def enlarge(student: Callable[[torch.Tensor], torch.Tensor], lr: Image, colour: Colour) -> Image:
    """What a student makes of an image, uint8 HxWx3; chroma of luma networks by bicubic."""
    if colour == "y":
        y, chroma = split(lr)
        return join(_run(student, y), chroma)
    return _run(student, lr)


def _run(student: Callable[[torch.Tensor], torch.Tensor], lr: Image) -> Image:
    x = torch.tensor(lr).permute(2, 0, 1)[None].float() / 255
    if isinstance(student, torch.nn.Module):
        x = x.to(next((p.device for p in student.parameters()), x.device))
    sr = student(x)[0].permute(1, 2, 0)
    pixels: Image = (sr * 255).round().clamp(0, 255).byte().cpu().numpy()
    return pixels


def _row(lr: Image, sr: Image, hr: Image, scale: int) -> Image:
    """The middle of an image: bicubic, network, original; black where the image is smaller."""
    tiles = []
    for image in (imresize(lr, scale), sr, hr):
        tile = np.zeros((_TILE, _TILE, 3), np.uint8)
        height, width = (min(_TILE, side) for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        tile[:height, :width] = image[top : top + height, left : left + width]
        tiles.append(tile)
    return np.concatenate(tiles, axis=1)

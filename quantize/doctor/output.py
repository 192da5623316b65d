"""The enlarged pictures: brightness, tint, reach of black and white, PSNR, worst places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from edgesr.quantize.doctor.banding import FlatTally
from edgesr.quantize.doctor.consistency import BackTally
from edgesr.quantize.doctor.diagnosis import Crop, ImageFigures, OutputFigures
from edgesr.quantize.doctor.windows import Sample, Window
from edgesr.quantize.scheme import QParams

from edgesr.data.bicubic import imresize
from edgesr.data.colour import luma, split
from edgesr.data.images import Image

Floats = npt.NDArray[np.float32]

CELL = 64
"""Side of a crop in the enlarged image."""
SHADOWS, HIGHLIGHTS = 32, 223
"""8-bit levels below and above which a cast of colour is seen first."""


@dataclass
class _Sums:
    """Signed error and its count."""

    total: float = 0.0
    count: int = 0

    def add(self, error: Floats) -> None:
        self.total += float(error.sum(dtype=np.float64))
        self.count += error.size

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass
class OutputTally:
    """Over all images. Pictures are HxWxC in 8-bit steps."""

    channels: int
    error: list[_Sums] = field(default_factory=list)
    shadows: _Sums = field(default_factory=_Sums)
    highlights: _Sums = field(default_factory=_Sums)
    flat: FlatTally = field(default_factory=FlatTally)
    largest: float = 0.0
    black: _Sums = field(default_factory=_Sums)
    white: _Sums = field(default_factory=_Sums)

    def __post_init__(self) -> None:
        self.error = [_Sums() for _ in range(self.channels)]

    def include(self, int8: Image, float_: Floats) -> None:
        """Add a tile: pixels of int8, and float's, unrounded within 0..255."""
        q = int8.astype(np.float32)
        difference = q - float_
        for channel, sums in enumerate(self.error):
            sums.add(difference[..., channel])
        self.shadows.add(difference[float_ < SHADOWS])
        self.highlights.add(difference[float_ > HIGHLIGHTS])
        self.largest = max(self.largest, float(np.abs(difference).max()))
        self.black.add((q[float_ <= 0] == 0).astype(np.float32))
        self.white.add((q[float_ >= 255] == 255).astype(np.float32))
        self.flat.include(q, float_)

    def figures(self, params: QParams | None, value_range: float) -> OutputFigures:
        """`params` of the output tensor."""
        lowest, highest = (0, 255) if params is None else _reach(params, value_range)
        count = sum(sums.count for sums in self.error) or 1
        return OutputFigures(
            brightness=sum(sums.total for sums in self.error) / count,
            tint=tuple(sums.mean or 0.0 for sums in self.error),
            shadows=self.shadows.mean,
            highlights=self.highlights.mean,
            largest=self.largest,
            lowest_pixel=lowest,
            highest_pixel=highest,
            black_kept=self.black.mean,
            white_kept=self.white.mean,
            flat=self.flat.figures(),
        )


def _reach(params: QParams, value_range: float) -> tuple[int, int]:
    step = 255 / value_range
    low, high = (int(np.clip(np.rint(v * step), 0, 255)) for v in (params.lowest, params.highest))
    return low, high


@dataclass
class ImageTally:
    """One image: squared errors on luma inside the shaved border, and its worst cell."""

    sample: Sample
    scale: int
    luma_network: bool
    tiles: int
    examined: int = 0
    pixels: int = 0
    between: float = 0.0
    float_: float = 0.0
    int8: float = 0.0
    bicubic: float = 0.0
    crop: Crop | None = None
    back: BackTally = field(default_factory=BackTally)

    def __post_init__(self) -> None:
        self._enlarged = None if self.sample.hr is None else imresize(self.sample.lr, self.scale)

    def include(self, window: Window, int8: Image, float_: Floats) -> None:
        """Add what a window keeps: pixels of int8, and float's, unrounded."""
        self.examined += 1
        scale = self.scale
        top, left = window.rows.keep_start * scale, window.columns.keep_start * scale
        place = np.s_[top : top + int8.shape[0], left : left + int8.shape[1]]
        rounded = np.clip(np.rint(float_), 0, 255).astype(np.uint8)
        truth = None if self.sample.hr is None else self.sample.hr[place]
        self._squares(top, left, int8, rounded, truth, place)
        rows, columns = window.rows, window.columns
        input_ = self.sample.lr[
            rows.keep_start : rows.keep_stop, columns.keep_start : columns.keep_stop
        ]
        self.back.include(input_, int8, rounded)
        self._worst(top, left, int8, rounded, truth)

    def _squares(
        self, top: int, left: int, int8: Image, rounded: Image, truth: Image | None,
        place: tuple[slice, slice],
    ) -> None:  # fmt: skip
        height, width = (side * self.scale for side in self.sample.lr.shape[:2])
        rows = slice(max(self.scale - top, 0), max(height - self.scale - top, 0))
        columns = slice(max(self.scale - left, 0), max(width - self.scale - left, 0))
        q, f = (_luma(pixels)[rows, columns] for pixels in (int8, rounded))
        self.pixels += q.size
        self.between += float(np.square(q - f).sum())
        if truth is not None and self._enlarged is not None:
            y = luma(truth)[rows, columns]
            self.float_ += float(np.square(f - y).sum())
            self.int8 += float(np.square(q - y).sum())
            enlarged = luma(self._enlarged[place])[rows, columns]
            self.bicubic += float(np.square(enlarged - y).sum())

    def _worst(self, top: int, left: int, int8: Image, rounded: Image, truth: Image | None) -> None:
        error = np.square(int8.astype(np.float32) - rounded).mean(axis=2)
        height, width = error.shape
        side_y, side_x = min(CELL, height), min(CELL, width)
        for y in {*range(0, height - side_y + 1, CELL), height - side_y}:
            for x in {*range(0, width - side_x + 1, CELL), width - side_x}:
                cell = np.s_[y : y + side_y, x : x + side_x]
                found = psnr_of(float(error[cell].mean()))
                if self.crop is None or found < self.crop.against_float:
                    shown = None if truth is None else _shown(truth[cell], self.luma_network)
                    self.crop = Crop(
                        self.sample.name, top + y, left + x, found,
                        rounded[cell].copy(), int8[cell].copy(), shown,
                    )  # fmt: skip

    def figures(self) -> ImageFigures:
        """Of the part examined."""
        known = self.sample.hr is not None
        back, reference_back = self.back.figures() or (None, None)
        return ImageFigures(
            name=self.sample.name,
            height=self.sample.lr.shape[0],
            width=self.sample.lr.shape[1],
            tiles=self.tiles,
            tiles_examined=self.examined,
            against_float=psnr_of(self.between / max(self.pixels, 1)),
            float_truth=psnr_of(self.float_ / max(self.pixels, 1)) if known else None,
            int8_truth=psnr_of(self.int8 / max(self.pixels, 1)) if known else None,
            bicubic_truth=psnr_of(self.bicubic / max(self.pixels, 1)) if known else None,
            int8_back=back,
            reference_back=reference_back,
        )


def psnr_of(error: float) -> float:
    """dB of a mean squared error in 8-bit steps."""
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def worst_crops(crops: Sequence[Crop | None], count: int) -> tuple[Crop, ...]:
    """Worst first; identical crops show nothing and are left out."""
    found = [crop for crop in crops if crop is not None and math.isfinite(crop.against_float)]
    return tuple(sorted(found, key=lambda crop: crop.against_float)[:count])


def _luma(pixels: Image) -> npt.NDArray[np.float64]:
    return luma(pixels) if pixels.shape[2] == 3 else pixels[..., 0].astype(np.float64)


def _shown(truth: Image, luma_network: bool) -> Image:
    return (split(truth)[0] if luma_network else truth).copy()

"""Upscale an image of any size with any session, in bounded memory.

    session = open_session("plain-m-x3_int8_360x640.tflite")
    big = upscale(session, image)

Tiles are read, run and written one by one into the uint8 result, so memory is the result, plus one
tile. See `edgesr.runtime.tiles` for why the tiles equal the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from edgesr.data import colour
from edgesr.errors import UsageError
from edgesr.runtime.pixels import Image
from edgesr.runtime.session import Session
from edgesr.runtime.tiles import Plan, Span, make_plan
from edgesr.scales import enlarged, enlarged_size, ratios

Progress = Callable[[int, int], None]
Floats = npt.NDArray[np.float32]

_STRIP = 256
"""Rows converted to luma and chroma at a time."""


def upscale(
    session: Session, image: Image, *, tile: int | None = None, progress: Progress | None = None
) -> Image:
    """Enlarge an RGB image by the session's scale.

    Luma networks get Y of BT.601 (rounded to uint8); chroma is enlarged with bicubic.

    Args:
        image: uint8 HxWx3, any size from 1x1.
        tile: LR pixels a tile contributes per side; None chooses by memory, 0 takes the whole
            image at once. Artifacts of fixed input size take None only.
        progress: called after each tile with (tiles done, tiles in all).

    Returns:
        uint8 sHxsWx3, rounded to whole pixels. With an exact plan (`plan_for`) the same pixels
        whatever the tile size.

    Raises:
        UsageError: not such an image, or a tile size that makes no sense.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"upscale takes uint8 HxWx3, not {image.dtype} of {image.shape}")
    plan = plan_for(session, *image.shape[:2], tile=tile)
    if session.manifest.colour == "rgb":
        return _enlarge(session, image, plan, progress)
    luma, chroma = _split(image)
    return colour.join(_enlarge(session, luma, plan, progress), chroma)


def plan_for(session: Session, height: int, width: int, *, tile: int | None = None) -> Plan:
    """The tiles `upscale` will use for an image of this size, and whether they are exact."""
    return make_plan(height, width, session.tiling(), tile)


def _split(image: Image) -> tuple[Image, Floats]:
    """`colour.split` in strips: its floats would be six times the image."""
    luma = np.empty((*image.shape[:2], 1), np.uint8)
    chroma = np.empty((*image.shape[:2], 2), np.float32)
    for top in range(0, len(image), _STRIP):
        rows = slice(top, top + _STRIP)
        luma[rows], chroma[rows] = colour.split(image[rows])
    return luma, chroma


def _enlarge(session: Session, image: Image, plan: Plan, progress: Progress | None) -> Image:
    height, width, channels = image.shape
    scale = session.manifest.scale
    vertical, horizontal = ratios(scale)
    out = np.empty((*enlarged_size(height, width, scale), channels), np.uint8)
    rows = [Strip.of(span, vertical) for span in plan.rows]
    columns = [Strip.of(span, horizontal) for span in plan.columns]
    paste = _paste if plan.ramp == (0, 0) else _blend
    done = 0

    def tile(row: Strip, column: Strip) -> Image:
        nonlocal done
        result = session.run(_window(image, row.span, column.span))
        done += 1
        if progress is not None:
            progress(done, len(plan))
        return result[row.kept, column.kept]

    paste(out, rows, columns, tile)
    return out


@dataclass(frozen=True)
class Strip:
    """A window along one axis, and where in the result its kept part goes: output pixels."""

    span: Span
    start: int
    stop: int
    kept: slice
    """The kept part, in pixels of the tile's own result."""

    @classmethod
    def of(cls, span: Span, ratio: Fraction) -> Strip:
        start, stop = enlarged(span.keep_start, ratio), enlarged(span.keep_stop, ratio)
        # Windows start at multiples of the network's period: at whole output pixels.
        first = enlarged(span.start, ratio)
        return cls(span, start, stop, slice(start - first, stop - first))


Tile = Callable[[Strip, Strip], Image]


def _paste(out: Image, rows: Sequence[Strip], columns: Sequence[Strip], tile: Tile) -> None:
    for row in rows:
        for column in columns:
            target = out[row.start : row.stop, column.start : column.stop]
            # What was mirrored beyond the border is cut off.
            target[:] = tile(row, column)[: target.shape[0], : target.shape[1]]


def _blend(out: Image, rows: Sequence[Strip], columns: Sequence[Strip], tile: Tile) -> None:
    """Fade neighbours into each other; the weights of a pixel add up to one.

    One band of tiles is held as floats at a time; its last rows wait for the next band.
    """
    waiting = np.zeros((0, columns[-1].stop, out.shape[2]), np.float32)
    for index, row in enumerate(rows):
        band = np.zeros((row.stop - row.start, *waiting.shape[1:]), np.float32)
        down = _weights(rows, index)[:, None, None]
        for place, column in enumerate(columns):
            across = _weights(columns, place)[None, :, None]
            band[:, column.start : column.stop] += tile(row, column) * (down * across)
        band[: len(waiting)] += waiting
        last = index == len(rows) - 1
        finished = len(band) if last else rows[index + 1].start - row.start
        waiting = band[finished:].copy()
        target = out[row.start : row.start + finished]
        np.rint(band, out=band)
        target[:] = np.clip(band[: len(target), : target.shape[1]], 0, 255)


def _weights(strips: Sequence[Strip], index: int) -> Floats:
    """One, with a linear rise where a neighbour comes before and its mirror where one follows."""
    strip = strips[index]
    weights = np.ones(strip.stop - strip.start, np.float32)
    if index > 0 and (ramp := strips[index - 1].stop - strip.start) > 0:
        weights[:ramp] = _rise(ramp)
    if index + 1 < len(strips) and (ramp := strip.stop - strips[index + 1].start) > 0:
        weights[-ramp:] = 1 - _rise(ramp)
    return weights


def _rise(length: int) -> Floats:
    return ((np.arange(length, dtype=np.float32) + 0.5) / length).astype(np.float32)


def _window(image: Image, row: Span, column: Span) -> Image:
    """The LR pixels a tile reads, mirrored where it reaches beyond the image."""
    height, width = image.shape[:2]
    if row.stop <= height and column.stop <= width:
        return np.ascontiguousarray(image[row.start : row.stop, column.start : column.stop])
    return image[_mirrored(row, height)[:, None], _mirrored(column, width)]


def _mirrored(span: Span, length: int) -> npt.NDArray[np.intp]:
    """Indices of the span, reflected at the last pixel (and back at the first, if need be)."""
    index = np.arange(span.start, span.stop)
    if length == 1:
        return np.zeros_like(index)
    index = np.mod(index, 2 * length - 2)
    return np.where(index < length, index, 2 * length - 2 - index)

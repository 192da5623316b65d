"""Upscale an image of any size with any session, in bounded memory.

    session = open_session("plain-m-x3_int8_360x640.tflite")
    big = upscale(session, image)

Tiles are read, run and written one by one into the uint8 result, so memory is the result, plus one
tile. See `edgesr.runtime.tiles` for why the tiles equal the whole image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgesr.data import colour
from edgesr.errors import UsageError
from edgesr.runtime.pixels import Image
from edgesr.runtime.session import Session
from edgesr.runtime.tiles import Plan, Span, make_plan

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
        uint8 sHxsWx3. With an exact plan (`plan_for`) the same pixels whatever the tile size.

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
    out = np.empty((height * scale, width * scale, channels), np.uint8)
    paste = _paste if plan.ramp == (0, 0) else _blend
    done = 0

    def tile(row: Span, column: Span) -> Image:
        nonlocal done
        result = session.run(_window(image, row, column))
        done += 1
        if progress is not None:
            progress(done, len(plan))
        return result[_kept(row, scale), _kept(column, scale)]

    paste(out, plan, scale, tile)
    return out


def _paste(out: Image, plan: Plan, scale: int, tile: Callable[[Span, Span], Image]) -> None:
    for row in plan.rows:
        for column in plan.columns:
            target = out[_placed(row, scale), _placed(column, scale)]
            # What was mirrored beyond the border is cut off.
            target[:] = tile(row, column)[: target.shape[0], : target.shape[1]]


def _blend(out: Image, plan: Plan, scale: int, tile: Callable[[Span, Span], Image]) -> None:
    """Fade neighbours into each other; the weights of a pixel add up to one.

    One band of tiles is held as floats at a time; its last rows wait for the next band.
    """
    ramp = plan.ramp[0] * scale
    width = plan.columns[-1].keep_stop * scale
    waiting = np.zeros((0, width, out.shape[2]), np.float32)
    for row in plan.rows:
        band = np.zeros(((row.keep_stop - row.keep_start) * scale, *waiting.shape[1:]), np.float32)
        down = _weights(row, plan.rows, plan.ramp[0], scale)[:, None, None]
        for column in plan.columns:
            across = _weights(column, plan.columns, plan.ramp[1], scale)[None, :, None]
            band[:, _placed(column, scale)] += tile(row, column) * (down * across)
        band[: len(waiting)] += waiting
        finished = len(band) if row is plan.rows[-1] else len(band) - ramp
        waiting = band[finished:].copy()
        top = row.keep_start * scale
        target = out[top : top + finished]
        np.rint(band, out=band)
        target[:] = np.clip(band[: len(target), : target.shape[1]], 0, 255)


def _weights(span: Span, spans: tuple[Span, ...], ramp: int, scale: int) -> Floats:
    """One, with a linear rise where a neighbour comes before and its mirror where one follows."""
    weights = np.ones((span.keep_stop - span.keep_start) * scale, np.float32)
    rise = (np.arange(ramp * scale, dtype=np.float32) + 0.5) / max(1, ramp * scale)
    if span is not spans[0] and ramp:
        weights[: len(rise)] = rise
    if span is not spans[-1] and ramp:
        weights[-len(rise) :] = 1 - rise
    return weights


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


def _kept(span: Span, scale: int) -> slice:
    """The kept part, in pixels of the tile's result."""
    return slice((span.keep_start - span.start) * scale, (span.keep_stop - span.start) * scale)


def _placed(span: Span, scale: int) -> slice:
    """The kept part, in pixels of the whole result."""
    return slice(span.keep_start * scale, span.keep_stop * scale)

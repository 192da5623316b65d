"""Where to cut an image so that the tiles give the pixels of the whole.

An output pixel depends on the LR pixels within its receptive field, so a tile that reads a *halo*
of neighbours around what it keeps computes the same numbers as the whole image. At the image's own
border the network pads with zeros; a tile that keeps border pixels must therefore end at the
border, neither before nor beyond it. Hence the one rule of this file: **windows lie inside the
image**. The last one is shifted inwards rather than filled up, and two neighbours overlap by at
least two halos, cut in the middle.

            |------ window 0 ------|
                       |------ window 1 ------|
                                  |------ window 2 ------|
    image   |================|==========|================|
             keep 0            keep 1     keep 2

Three cases cannot be exact, and the plan says so: an image smaller than the fixed input of an
artifact (its border is mirrored), a network without bounded receptive field (its tiles overlap by
a quarter and fade into each other), and a runtime whose rounding depends on the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

from edgesr.errors import UsageError

MEMORY = 384 << 20
"""Bytes of activations a tile may need when the caller does not choose its size."""
LARGEST_SIDE = 512
"""Exact tiles beyond this gain nothing and make the progress bar coarse."""
LEAST_SIDE = 24
"""Networks that pool and stride inside cannot run on less; their images are mirrored up to it."""


@dataclass(frozen=True)
class Tiling:
    """What a session says about cutting its input. Lengths in LR pixels."""

    height: int | None = None
    """The artifact's fixed input; None when any height will do."""
    width: int | None = None
    multiple: int = 1
    """Both sides of a window, and its place, divide by this."""
    halo: int | None = None
    """None: no tile equals the whole image; blend."""
    bytes_per_pixel: int = 4096
    """Memory one LR pixel takes while the network runs."""
    smallest_window: int = 1
    """Windows of fewer pixels may differ in the last bit of their floats."""
    rounding: str = ""
    """Why windows of any size differ in the last bit, for the user; empty where none does."""


@dataclass(frozen=True)
class Span:
    """One window along one axis, in LR pixels: what is read, and what of it is kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True)
class Plan:
    """The windows of an image: every row span with every column span."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    ramp: tuple[int, int] = (0, 0)
    """LR pixels by which the kept parts of neighbours overlap and fade; 0 where tiles are exact."""
    why_inexact: str = ""
    """A sentence for the user; empty when the result equals the whole image's bit for bit."""

    @property
    def exact(self) -> bool:
        """Whether the tiles give the pixels of the whole image."""
        return not self.why_inexact

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


def make_plan(height: int, width: int, tiling: Tiling, tile: int | None = None) -> Plan:
    """Cover an image of `height` x `width` LR pixels with windows.

    Args:
        tile: LR pixels per side that a tile contributes, its halo comes on top; None chooses by
            memory, 0 takes the whole image at once.

    Raises:
        UsageError: a tile size for an artifact that has a fixed one, or a fixed input too small
            to hold its halo.
    """
    if height < 1 or width < 1:
        raise UsageError(f"an image of {width}x{height} pixels has nothing to upscale")
    fixed = (tiling.height, tiling.width)
    if tile is not None and None not in fixed:
        raise UsageError(
            f"the artifact's input is fixed at {tiling.height}x{tiling.width}; its tiles have no "
            "other size (leave out the tile size, or export with another --shape)"
        )
    if tile is not None and tile < 0:
        raise UsageError(f"a tile of {tile} pixels makes no sense; 0 means the whole image")

    sides = [_padded(n, f, tiling) for n, f in zip((height, width), fixed, strict=True)]
    windows = _windows(sides, fixed, tiling, tile)
    axes = [_axis(n, w, tiling) for n, w in zip(sides, windows, strict=True)]
    (rows, ramp_y), (columns, ramp_x) = axes
    why = ""
    if len(rows) * len(columns) > 1 and tiling.halo is None:
        why = f"the network has no bounded receptive field: {len(rows) * len(columns)} tiles blend"
    elif len(rows) * len(columns) > 1:
        why = tiling.rounding
    beyond = [_up(n, tiling.multiple) < s for n, s in zip((height, width), sides, strict=True)]
    if any(beyond):
        why = (
            f"an image of {width}x{height} is smaller than the input of {windows[1]}x{windows[0]}: "
            "mirrored beyond its border, which changes the pixels next to it"
        )
    return Plan(rows, columns, (ramp_y, ramp_x), why)


def _padded(length: int, fixed: int | None, tiling: Tiling) -> int:
    """The side with what is mirrored beyond it."""
    least = 1 if tiling.halo is not None else LEAST_SIDE
    return max(_up(max(length, least), tiling.multiple), fixed or 0)


def _windows(
    sides: list[int], fixed: tuple[int | None, int | None], tiling: Tiling, tile: int | None
) -> list[int]:
    """Sides of the window; every tile of the plan has this one size."""
    budget = MEMORY // max(1, tiling.bytes_per_pixel)
    whole = tile == 0 or (tile is None and sides[0] * sides[1] <= budget)
    if whole and tiling.halo is not None and tile is None:
        whole = sides[0] * sides[1] <= LARGEST_SIDE**2
    multiple = tiling.multiple
    halo = 0 if tiling.halo is None else _up(tiling.halo, multiple)
    if tile:
        side = tile + 2 * halo
    else:
        core = max(isqrt(budget) - 2 * halo, 32, halo)
        side = min(core + 2 * halo, max(LARGEST_SIDE, 3 * halo))
        side = isqrt(budget) if tiling.halo is None else side
    if tiling.halo is None:
        side = max(side, LEAST_SIDE, 4 * multiple)  # room for an overlap
    windows = []
    for length, given in zip(sides, fixed, strict=True):
        free = length if whole else min(length, _up(side, multiple))
        if tiling.halo is not None:
            free = _even(length, free, halo, multiple)
        windows.append(given or free)
    if windows[0] * windows[1] < tiling.smallest_window:
        edge = _up(isqrt(tiling.smallest_window) + 1, multiple)
        windows = [min(n, max(edge, window)) for n, window in zip(sides, windows, strict=True)]
        for axis in (0, 1):  # a narrow image makes up for its width with height
            needed = _up(-(-tiling.smallest_window // windows[1 - axis]), multiple)
            windows[axis] = min(sides[axis], max(windows[axis], needed))
    return windows


def _even(length: int, window: int, halo: int, multiple: int) -> int:
    """The smallest window that needs no more tiles than `window` does: less computed twice."""
    step = window - 2 * halo
    if window >= length or step < multiple:
        return window
    tiles = 1 - (window - length) // step
    return min(window, _up(-(-(length + 2 * halo * (tiles - 1)) // tiles), multiple))


def _axis(length: int, window: int, tiling: Tiling) -> tuple[tuple[Span, ...], int]:
    """Spans of one axis, evenly spread, and how far their kept parts overlap."""
    if window >= length:
        return (Span(0, length, 0, length),), 0
    multiple, halo = tiling.multiple, tiling.halo
    overlap = max(1, window // 4) if halo is None else 2 * _up(halo, multiple)
    ramp = max(1, overlap // 2) if halo is None else 0
    step = (window - overlap) // multiple * multiple
    if step < multiple:
        raise UsageError(
            f"windows of {window} pixels leave nothing inside a halo of {halo} on each side; "
            f"export with a --shape of at least {overlap + 8 * multiple} pixels a side"
        )
    gaps = -(-(length - window) // step)
    last = length - window
    starts = [i * last // gaps // multiple * multiple for i in range(gaps)] + [last]
    middles = [(right + left + window) // 2 for left, right in pairwise(starts)]
    fade = ramp // 2
    begins = [0] + [middle - fade for middle in middles]
    ends = [middle - fade + ramp for middle in middles] + [length]
    spans = (
        Span(start, start + window, begin, end)
        for start, begin, end in zip(starts, begins, ends, strict=True)
    )
    return tuple(spans), ramp


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

"""Quality against time: one bubble per file, a front per place it ran in.

A file is on the front when no other of its place is both as good and as fast, and better in one of
the two. The line is a staircase: what quality a budget of milliseconds buys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgesr.benchmarks.report.axes import Axis, fit, labels
from edgesr.benchmarks.report.labels import place_labels
from edgesr.benchmarks.report.svg import Point, Sheet

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 14.0, 40.0
_LARGEST = 15.0
"""Radius of the largest file, in pixels; areas are in proportion to sizes."""
_SMALLEST = 4.0


@dataclass(frozen=True)
class Bubble:
    """One file in one place.

    Attributes:
        ms: time of one call.
        db: PSNR.
        size: bytes; None draws the smallest bubble.
        name: of the file.
        place: where it ran; every place has a front of its own.
        colour: of the place, below `SERIES`.
        estimated: the time is a compiler's model, so nothing was measured.
    """

    ms: float
    db: float
    size: int | None
    name: str
    place: str
    colour: int = 0
    estimated: bool = False


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (ms, dB) that no other beats, fastest first; equal points are all kept."""
    kept: list[int] = []
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    for index in order:
        if not kept or points[index][1] > points[kept[-1]][1] or points[index] == points[kept[-1]]:
            kept.append(index)
    return kept


def fronts(bubbles: Sequence[Bubble]) -> dict[str, list[int]]:
    """For every place, in the order of appearance, the indices of its front."""
    found = {}
    for place in dict.fromkeys(bubble.place for bubble in bubbles):
        mine = [i for i, bubble in enumerate(bubbles) if bubble.place == place]
        found[place] = [mine[i] for i in front([(bubbles[i].ms, bubbles[i].db) for i in mine])]
    return found


def pareto_chart(
    bubbles: Sequence[Bubble], *, width: float = 720, height: float = 420, title: str = ""
) -> str:
    """SVG; empty text where there is nothing to draw.

    Args:
        bubbles: finite figures, times above zero.
        width, height: of the coordinate system.
    """
    if not bubbles:
        return ""
    sheet = Sheet(width, height, title or "PSNR against milliseconds")
    x = fit((b.ms for b in bubbles), _LEFT, width - _RIGHT, pad=0.12)
    y = fit((b.db for b in bubbles), height - _BOTTOM, _TOP, log=False, pad=0.15)
    draw_grid(sheet, x, y, f"ms per call{', logarithmic' if x.log else ''}", "dB")
    found = fronts(bubbles)
    for place, members in found.items():
        if sum(bubble.place == place for bubble in bubbles) < 2:
            continue  # a file alone has nothing to be in front of
        dashed = " estimate" if any(bubbles[i].estimated for i in members) else ""
        steps = staircase([(x(bubbles[i].ms), y(bubbles[i].db)) for i in members], x.end)
        sheet.path(steps, f"front s{bubbles[members[0]].colour}{dashed}")
    radii = _radii([bubble.size for bubble in bubbles])
    discs = [((x(b.ms), y(b.db)), radius) for b, radius in zip(bubbles, radii, strict=True)]
    for index in sorted(range(len(discs)), key=lambda i: -radii[i]):
        bubble, (centre, radius) = bubbles[index], discs[index]
        if bubble.estimated:
            sheet.diamond(centre, radius + 1, f"dot estimate s{bubble.colour}", tip(bubble))
        else:
            sheet.circle(centre, radius, f"dot f{bubble.colour}", tip(bubble))
    important = [i for members in found.values() for i in members]
    order = important + [i for i in range(len(bubbles)) if i not in important]
    names = [bubbles[i].name for i in order]
    frame = (_LEFT, 0.0, width, height - _BOTTOM)
    for label in place_labels([discs[i] for i in order], names, frame):
        sheet.text(label.place, names[label.index], "label halo", label.anchor)
    return sheet.to_svg()


def tip(bubble: Bubble) -> str:
    """What the pointer shows."""
    size = "" if bubble.size is None else f", {bubble.size / 1024:,.0f} KiB"
    time = f"{bubble.ms:.4g} ms{' (estimate)' if bubble.estimated else ''}"
    return f"{bubble.name}: {bubble.db:.3f} dB, {time}{size}; {bubble.place}"


def staircase(points: Sequence[Point], end: float) -> list[Point]:
    """Corners of the line through a front's pixels, drawn on to the pixel `end`."""
    corners: list[Point] = []
    for place in points:
        if corners:
            corners.append((place[0], corners[-1][1]))
        corners.append(place)
    return [*corners, (end, corners[-1][1])] if corners else []


def draw_grid(sheet: Sheet, x: Axis, y: Axis, x_name: str, y_name: str) -> None:
    """Lines, figures and names of both axes."""
    for axis, across in ((x, True), (y, False)):
        room = abs(axis.end - axis.start)
        ticks = axis.ticks(max(3, int(room / (70 if across else 55))))
        for tick, word in zip(ticks, labels(ticks, log=axis.log), strict=True):
            place = axis(tick)
            if across:
                sheet.line((place, y.start), (place, y.end), "grid")
                sheet.text((place, y.start + 15), word, "tick", "middle")
            else:
                sheet.line((x.start, place), (x.end, place), "grid")
                sheet.text((x.start - 5, place + 4), word, "tick", "end")
    sheet.path([(x.start, y.end), (x.start, y.start), (x.end, y.start)], "frame")
    sheet.text(((x.start + x.end) / 2, y.start + 32), x_name, "axis", "middle")
    sheet.text((x.start + 5, y.end + 9), y_name, "axis halo")


def _radii(sizes: Sequence[int | None]) -> list[float]:
    largest = max((size for size in sizes if size), default=1)
    return [max(_SMALLEST, _LARGEST * math.sqrt((size or 0) / largest)) for size in sizes]

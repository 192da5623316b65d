"""How much of the machine is used: GMAC/s against multiply-accumulates per byte, under its roofs.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 2009. The level roofs are matrix products, the sloping ones copies, both
measured beside the rows. A point above a slope reads from the cache what the estimate of its bytes
takes from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesr.benchmarks.report.axes import Axis, fit
from edgesr.benchmarks.report.labels import place_labels, text_box
from edgesr.benchmarks.report.pareto import draw_grid
from edgesr.benchmarks.report.svg import Point, Sheet, text_width

_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 18.0, 40.0
_RADIUS = 5.0


@dataclass(frozen=True)
class Work:
    """One file in one place.

    Attributes:
        intensity: multiply-accumulates per byte.
        rate: GMAC/s in the median.
        name: of the file.
        place: where it ran.
        colour: of the place, below `SERIES`.
    """

    intensity: float
    rate: float
    name: str
    place: str
    colour: int = 0


@dataclass(frozen=True)
class Roof:
    """A ceiling of the machine.

    Attributes:
        rate: GMAC/s of matrix products, or GB/s of copies.
        name: as shown.
        copies: whether it is a bandwidth.
    """

    rate: float
    name: str
    copies: bool = False


def roofline_chart(
    works: Sequence[Work],
    roofs: Sequence[Roof],
    *,
    width: float = 720,
    height: float = 380,
    title: str = "",
) -> str:
    """SVG; empty text where there is nothing to draw."""
    if not works:
        return ""
    sheet = Sheet(width, height, title or "GMAC/s against multiply-accumulates per byte")
    level = [roof for roof in roofs if not roof.copies]
    sloping = [roof for roof in roofs if roof.copies]
    ridges = [flat.rate / copy.rate for flat in level for copy in sloping]
    right = width - _RIGHT
    x = fit([w.intensity for w in works] + ridges, _LEFT, right, log=True, pad=0.25)
    rates = [w.rate for w in works] + [roof.rate for roof in level]
    y = fit(rates, height - _BOTTOM, _TOP, log=True, pad=0.15)
    draw_grid(sheet, x, y, "MAC per byte, logarithmic", "GMAC/s, logarithmic")
    top = max((roof.rate for roof in level), default=y.high)
    names: list[tuple[Point, str, str]] = []
    for index, roof in enumerate(sorted(sloping, key=lambda roof: -roof.rate)):
        names += _draw_slope(sheet, x, y, roof, top, index)
    lowest: float | None = None
    for roof in sorted(level, key=lambda roof: roof.rate):
        at = y(roof.rate)
        sheet.line((x.start, at), (x.end, at), "roof")
        if lowest is None or lowest - at >= 13:
            names.append(((x.end - 4, at - 4), "end", f"{roof.name}: {roof.rate:.0f}"))
            lowest = at
    for place, anchor, words in names:
        sheet.text(place, words, "value halo", anchor)
    taken = [text_box(place, anchor, text_width(words)) for place, anchor, words in names]
    discs = [((x(w.intensity), y(w.rate)), _RADIUS) for w in works]
    for work, (centre, radius) in zip(works, discs, strict=True):
        words = f"{work.name}: {work.rate:.1f} GMAC/s, {work.intensity:.0f} MAC/B; {work.place}"
        sheet.circle(centre, radius, f"dot f{work.colour}", words)
    frame = (_LEFT, 0.0, width, height - _BOTTOM)
    for label in place_labels(discs, [work.name for work in works], frame, taken):
        sheet.text(label.place, works[label.index].name, "label halo", label.anchor)
    return sheet.to_svg()


def _draw_slope(
    sheet: Sheet, x: Axis, y: Axis, roof: Roof, top: float, index: int
) -> list[tuple[Point, str, str]]:
    """The line `rate = bandwidth * intensity`, as far as it lies on the sheet.

    Returns:
        Its figure and where to write it, if it is there: the first slope's to its left, the others'
        to their right, further down by their index, so that they do not meet.
    """
    left = max(x.low, y.low / roof.rate)
    right = min(x.high, top / roof.rate)
    if left >= right:
        return []
    (x1, y1), (x2, y2) = ((x(at), y(at * roof.rate)) for at in (left, right))
    sheet.line((x1, y1), (x2, y2), "roof copy")
    share = 0.7 if index == 0 else max(0.1, 0.45 - 0.15 * index)
    here = (x1 + share * (x2 - x1), y1 + share * (y2 - y1))
    words = f"{roof.rate:.1f} GB/s"
    if index == 0:
        return [((here[0] - 6, here[1] - 4), "end", words)]
    return [((here[0] + 6, here[1] + 12), "start", words)]

"""Names beside points, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesr.benchmarks.report.svg import Box, Point, text_width

_LINE = 13.0
"""Pixels from line to line."""
_GAP = 4.0


@dataclass(frozen=True)
class Label:
    """A name that found its place."""

    index: int
    """Of the point it belongs to."""
    place: Point
    anchor: str


def place_labels(
    points: Sequence[tuple[Point, float]],
    names: Sequence[str],
    frame: Box,
    others: Sequence[Box] = (),
) -> list[Label]:
    """Put names beside discs, the first ones first; a name without room is left out.

    Args:
        points: centre and radius of every disc.
        names: one per disc; the table beside the chart has those that are left out, too.
        frame: what a name must not leave.
        others: what it must not cover either.
    """
    taken: list[Box] = [(x - r, y - r, x + r, y + r) for (x, y), r in points]
    taken += others
    placed = []
    for index, (((x, y), radius), name) in enumerate(zip(points, names, strict=True)):
        width = text_width(name)
        for place, anchor in _candidates(x, y, radius):
            box = text_box(place, anchor, width)
            rest = taken[:index] + taken[index + 1 :]
            if _within(box, frame) and not any(overlap(box, other) for other in rest):
                taken.append(box)
                placed.append(Label(index, place, anchor))
                break
    return placed


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def label_box(label: Label, name: str) -> Box:
    """What a placed name covers."""
    return text_box(label.place, label.anchor, text_width(name))


def _candidates(x: float, y: float, radius: float) -> list[tuple[Point, str]]:
    aside, over, under = radius + _GAP, y - radius - _GAP, y + radius + _LINE
    return [
        ((x + aside, y + 4), "start"), ((x - aside, y + 4), "end"),
        ((x, over), "middle"), ((x, under), "middle"),
        ((x + radius * 0.7, over), "start"), ((x + radius * 0.7, under), "start"),
        ((x - radius * 0.7, over), "end"), ((x - radius * 0.7, under), "end"),
    ]  # fmt: skip


def text_box(place: Point, anchor: str, width: float) -> Box:
    """What a line of text covers."""
    x, y = place
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return (left, y - _LINE + 3, left + width, y + 3)


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]

"""A sheet to draw on: SVG elements as text, every word escaped, every number finite.

Colours and fonts are classes; `edgesr.benchmarks.report.theme` says what they look like, on a light
and on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

LETTER = 6.4
"""Width of a letter at 12 px, on average; generous, since fonts differ."""


def coordinate(value: float) -> str:
    """A length in pixels, short.

    Raises:
        ValueError: it is not finite; an SVG with NaN in it shows nothing and says nothing.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is no place on a chart")
    return f"{value:.1f}".removesuffix(".0")


def text_width(text: str, letter: float = LETTER) -> float:
    """Pixels `text` takes, roughly."""
    return len(text) * letter


class Sheet:
    """Collects elements; `to_svg` makes the picture of them.

    Args:
        width, height: of the coordinate system; the page scales the picture to the room it has.
        title: read out by screen readers.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self._title = width, height, title
        self._parts: list[str] = []

    def line(self, start: Point, end: Point, style: str) -> None:
        """A straight line."""
        (x1, y1), (x2, y2) = start, end
        self._add(
            f'line x1="{coordinate(x1)}" y1="{coordinate(y1)}" '
            f'x2="{coordinate(x2)}" y2="{coordinate(y2)}"',
            style,
        )

    def path(self, points: Sequence[Point], style: str, *, closed: bool = False) -> None:
        """Straight lines from point to point; nothing where there are none."""
        if points:
            steps = " L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
            self._add(f'path d="M{steps}{"Z" if closed else ""}"', style)

    def circle(self, centre: Point, radius: float, style: str, tip: str = "") -> None:
        """A disc; `tip` appears under the pointer."""
        x, y = centre
        self._add(
            f'circle cx="{coordinate(x)}" cy="{coordinate(y)}" r="{coordinate(radius)}"', style, tip
        )

    def diamond(self, centre: Point, radius: float, style: str, tip: str = "") -> None:
        """A square on its corner, as high as a disc of that radius."""
        x, y = (coordinate(value) for value in centre)
        r, back = coordinate(radius), coordinate(-radius)
        self._add(f'path d="M{x} {y}m0 {back}l{r} {r}l{back} {r}l{back} {back}Z"', style, tip)

    def text(self, place: Point, words: str, style: str = "label", anchor: str = "start") -> None:
        """One line; `place` is its base line, at the end that `anchor` names."""
        x, y = place
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(
            f'<text x="{coordinate(x)}" y="{coordinate(y)}"{where} class={quoteattr(style)}>'
            f"{escape(printable(words))}</text>"
        )

    def to_svg(self) -> str:
        """The picture, without colours of its own."""
        title = printable(self._title)
        size = f"{coordinate(self.width)} {coordinate(self.height)}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" class="chart" '
            f'role="img" aria-label={quoteattr(title)}>{"".join(self._parts)}</svg>'
        )

    def _add(self, shape: str, style: str, tip: str = "") -> None:
        if tip:
            name = shape.split(" ", 1)[0]
            said = escape(printable(tip))
            self._parts.append(f"<{shape} class={quoteattr(style)}><title>{said}</title></{name}>")
        else:
            self._parts.append(f"<{shape} class={quoteattr(style)}/>")


def printable(text: str) -> str:
    """`text` without the control characters that XML forbids."""
    return "".join(letter if letter >= " " else " " for letter in text)

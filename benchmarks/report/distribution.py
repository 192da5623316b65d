"""Every raw sample of every row: a cloud of dots, its density, the median and the ninetieth
percentile. A second hump, which a median hides, is a scheduler or a clock at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from edgesr.benchmarks.report.axes import Axis, fit, labels
from edgesr.benchmarks.report.numbers import significant
from edgesr.benchmarks.report.svg import Point, Sheet, text_width
from edgesr.benchmarks.statistics import summarize

_LEFT, _RIGHT, _TOP, _BOTTOM = 10.0, 10.0, 6.0, 40.0
_LINE, _GAP = 17.0, 7.0
"""Pixels of a line of text and between rows."""
_HIGH, _LOW, _MANY = 34.0, 22.0, 12
"""Pixels of a cloud, and from how many rows on it is lower."""
_SMALL = 6.0
"""Width of a letter of the figures."""
_DOTS = 400
"""More samples than this are thinned out; density and marks use all."""


@dataclass(frozen=True)
class Strip:
    """One row.

    Attributes:
        name: what ran and where.
        samples: milliseconds, at least one, in the order they were taken.
        colour: of the place it ran in, below `SERIES`.
    """

    name: str
    samples: Sequence[float]
    colour: int = 0

    @property
    def figures(self) -> str:
        """Median and tail."""
        summary = summarize(self.samples)
        return f"{significant(summary.median)} ms, p90 {significant(summary.p90)}"


def distribution_chart(strips: Sequence[Strip], *, width: float = 720, title: str = "") -> str:
    """SVG; empty text where there is nothing to draw. Rows share one axis in milliseconds."""
    if not strips:
        return ""
    room = width - _LEFT - _RIGHT - 10
    needed = max(text_width(strip.name) + text_width(strip.figures, _SMALL) for strip in strips)
    above = _LINE if needed <= room else 2 * _LINE
    band = _HIGH if len(strips) <= _MANY else _LOW
    height = _TOP + (above + band + _GAP) * len(strips) + _BOTTOM
    sheet = Sheet(width, height, title or "latency of every run")
    every = [sample for strip in strips for sample in strip.samples]
    x = fit(every, _LEFT, width - _RIGHT, pad=0.03)
    bottom = height - _BOTTOM
    ticks = x.ticks(max(3, int(width / 90)))
    for tick, word in zip(ticks, labels(ticks, log=x.log), strict=True):
        sheet.line((x(tick), _TOP), (x(tick), bottom), "grid")
        sheet.text((x(tick), bottom + 15), word, "tick", "middle")
    name = f"ms per call{', logarithmic' if x.log else ''}"
    sheet.text((width / 2, bottom + 32), name, "axis", "middle")
    for number, strip in enumerate(strips):
        floor = _TOP + number * (above + band + _GAP) + above + band
        _draw(sheet, strip, x, floor, band)
        sheet.text((_LEFT, floor - band - above + 13), shorten(strip.name, room + 10), "label halo")
        sheet.text((width - _RIGHT, floor - band - 4), strip.figures, "value halo", "end")
    return sheet.to_svg()


def density(samples: Sequence[float], at: Sequence[float]) -> list[float]:
    """Gaussian kernel density at some places, 1 at its peak among them.

    Bandwidth after Silverman, "Density Estimation", 1986, equation 3.31.
    """
    values = np.asarray(samples, np.float64)
    quartiles = np.percentile(values, (25, 75))
    spread = min(filter(None, (values.std(), (quartiles[1] - quartiles[0]) / 1.34)), default=0.0)
    if not spread:
        return [0.0 for _ in at]
    bandwidth = 0.9 * spread * len(values) ** -0.2
    apart = (np.asarray(at, np.float64)[:, None] - values[None, :]) / bandwidth
    heights = np.exp(-0.5 * apart**2).sum(1)
    return [float(height) for height in heights / max(float(heights.max()), 1e-300)]


def _draw(sheet: Sheet, strip: Strip, x: Axis, floor: float, band: float) -> None:
    """The cloud above the line at `floor`, `band` pixels high."""
    summary, colour = summarize(strip.samples), strip.colour
    pixels = np.linspace(x.start, x.end, 121)
    low, high = (np.log10([x.low, x.high])) if x.log else (x.low, x.high)
    at = low + (pixels - x.start) / (x.end - x.start) * (high - low)
    values = np.log10(strip.samples) if x.log else np.asarray(strip.samples)
    heights = density(list(values), list(at))
    curve: list[Point] = [
        (float(pixel), floor - band * share)
        for pixel, share in zip(pixels, heights, strict=True)
    ]  # fmt: skip
    if any(heights):
        sheet.path([(x.start, floor), *curve, (x.end, floor)], f"violin f{colour}", closed=True)
    shown = strip.samples[:: -(-len(strip.samples) // _DOTS)]
    for number, sample in enumerate(shown):
        # The golden ratio spreads neighbours in time over the height, the same on every drawing.
        lift = 3 + (band - 8) * (number * 0.618034 % 1)
        sheet.circle((x(sample), floor - lift), 1.8, f"sample f{colour}")
    sheet.line((x.start, floor), (x.end, floor), "grid")
    sheet.line((x(summary.median), floor), (x(summary.median), floor - band), f"median s{colour}")
    sheet.line((x(summary.p90), floor), (x(summary.p90), floor - band), f"p90 s{colour}")


def shorten(text: str, room: float) -> str:
    """`text`, or its beginning and an ellipsis, within `room` pixels."""
    if text_width(text) <= room:
        return text
    letters = 1
    while letters < len(text) and text_width(text[: letters + 2]) <= room:
        letters += 1
    return text[:letters].rstrip() + "\N{HORIZONTAL ELLIPSIS}"

"""From figures to pixels: linear and logarithmic axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

LOGARITHMIC = 6.0
"""Ratio of the largest to the smallest figure from which an axis is logarithmic by itself."""

_TINY = 1e-12
"""No figure that is drawn is as small as this and above zero; its logarithm would fill the axis."""


@dataclass(frozen=True)
class Axis:
    """Figures from `low` to `high`, drawn from pixel `start` to pixel `end` (either way round)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a figure."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return self.start + (self._scaled(value) - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round figures within the axis, ascending; never fewer than two."""
        for tried in (count, 2 * count, 4 * count):
            found = _powers(self.low, self.high, tried) if self.log else []
            found = found if len(found) > 1 else _steps(self.low, self.high, tried)
            if len(found) > 1:
                return found
        return [self.low, self.high]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def fit(
    values: Iterable[float], start: float, end: float, *, log: bool | None = None, pad: float = 0.08
) -> Axis:
    """An axis with room for all `values` and `pad` of its length at either end.

    Args:
        log: None decides by the ratio of the largest to the smallest; figures below `_TINY` force
            linear.

    Raises:
        ValueError: there is no value.
    """
    found = list(values)
    low, high = min(found), max(found)
    if log is None:
        log = low > _TINY and high / low > LOGARITHMIC
    if log and low > _TINY:
        room = max(math.log10(high / low), 0.3) * pad
        return Axis(low / 10**room, high * 10**room, start, end, log=True)
    room = pad * (high - low) or abs(high) * 0.05 or 1.0
    return Axis(low - room, high + room, start, end)


def tick_label(value: float, step: float) -> str:
    """`value` with as many digits as neighbours at a distance of `step` need."""
    if abs(value) >= 1000 and value == round(value):
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    return f"{value:.{min(digits, 6)}f}"


def labels(ticks: list[float], *, log: bool) -> list[str]:
    """One label per tick."""
    if log:
        return [f"{tick:g}" if tick < 1000 else tick_label(tick, 1) for tick in ticks]
    step = min((b - a for a, b in pairwise(ticks)), default=0.0)
    return [tick_label(tick, step) for tick in ticks]


def _steps(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _powers(low: float, high: float, count: int) -> list[float]:
    """1, 2 and 5 times powers of ten, or fewer of them where that is too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**e for e in exponents for f in factors if low <= f * 10.0**e <= high]
        if len(found) <= count + 2:
            return found
    return found[:: math.ceil(len(found) / count)]

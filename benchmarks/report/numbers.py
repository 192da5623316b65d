"""Figures: told from what is none, and written with as many digits as they deserve."""

from __future__ import annotations

import math

LARGEST = 1e18
"""More than any multiply-accumulates, bytes or milliseconds that somebody waited for."""
NONE = "\N{EN DASH}"
"""What stands for a figure that is not known."""


def is_number(value: object) -> bool:
    """Whether it is a number that a benchmark can give; JSON from elsewhere may hold NaN, a text,
    or figures whose square is infinite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < LARGEST  # of NaN false, too


def number(value: object) -> float | None:
    """The number, or None if it is none."""
    return float(value) if is_number(value) else None  # type: ignore[arg-type]


def fixed(value: float | None, digits: int = 2, unit: float = 1.0) -> str:
    """With a fixed number of digits behind the point."""
    return NONE if value is None else f"{value / unit:,.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """With at least `digits` digits, whatever the magnitude."""
    if value is None:
        return NONE
    before = 0 if value == 0 else math.floor(math.log10(abs(value))) + 1
    return f"{value:,.{min(max(digits - before, 0), 6)}f}"


def percent(value: float | None) -> str:
    """Of a share from 0 to 1."""
    return NONE if value is None else f"{value:.0%}"


def count(value: int, word: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{value:,} {word}{'' if value == 1 else 's'}"


def tiny(value: float | None) -> str:
    """A difference that should be none: `0`, `5.3e-07`."""
    if value is None:
        return NONE
    return "0" if value == 0 else f"{value:.1e}"

"""Enlargements: whole, fractional, and different ones for height and width.

    parse_scale("3")        -> 3
    parse_scale("1.5")      -> (1.5, 1.5)
    parse_scale("2.2x4.2")  -> (2.2, 4.2)      height first

A whole enlargement that is the same both ways is an `int`, as everywhere; any other is a pair.
Factors have at most two decimals, so each is a ratio `p / q` of small whole numbers, and a network
computes the same `p` output pixels from every `q` input pixels: what sizes, tiles and filters of
such a network rest on.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from edgesr.errors import UsageError

Scale = int | tuple[float, float]

DECIMALS = 2
LARGEST = 8.0
"""No network here enlarges by more."""


def parse_scale(text: str | float) -> Scale:
    """Read a scale as the command line gives it: `2`, `1.5`, `2.2x4.2` (height x width).

    Raises:
        UsageError: no number, not above zero, above 8, or more than two decimals.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:x(\d+(?:\.\d+)?))?", str(text).strip())
    if match is None:
        raise UsageError(
            f"`{text}` is no scale; write 2, 1.5, or HEIGHTxWIDTH as in 2.2x4.2, all above zero"
        )
    vertical = float(match[1])
    return checked((vertical, float(match[2] or vertical)))


def checked(scale: Scale) -> Scale:
    """The scale in its one spelling: `int` where it is whole and the same both ways.

    Raises:
        UsageError: not above zero, above 8, or more than two decimals.
    """
    vertical, horizontal = factors(scale)
    for factor in (vertical, horizontal):
        if not 0 < factor <= LARGEST:
            raise UsageError(
                f"a scale of {factor:g} is out of reach: above 0 and at most {LARGEST:g}, each way"
            )
        if round(factor, DECIMALS) != factor:
            raise UsageError(f"a scale has at most {DECIMALS} decimals, not {factor!r}")
    if vertical == horizontal and vertical == int(vertical):
        return int(vertical)
    return vertical, horizontal


def factors(scale: Scale) -> tuple[float, float]:
    """Vertical and horizontal factor."""
    return scale if isinstance(scale, tuple) else (float(scale), float(scale))


def ratios(scale: Scale) -> tuple[Fraction, Fraction]:
    """Vertical and horizontal factor in lowest terms: `p / q`."""
    vertical, horizontal = (Fraction(round(f * 100), 100) for f in factors(scale))
    return vertical, horizontal


def scale_text(scale: Scale) -> str:
    """`3`, `1.5` or `2.2x4.2`: what `parse_scale` reads."""
    vertical, horizontal = factors(scale)
    return f"{vertical:g}" if vertical == horizontal else f"{vertical:g}x{horizontal:g}"


def period(scale: Scale) -> int:
    """Input pixels after which the place of output pixels repeats, both ways: sizes that divide
    by it become whole sizes."""
    return math.lcm(*(ratio.denominator for ratio in ratios(scale)))


def enlarged_size(height: int, width: int, scale: Scale) -> tuple[int, int]:
    """Height and width of an enlarged image, each rounded."""
    vertical, horizontal = ratios(scale)
    return enlarged(height, vertical), enlarged(width, horizontal)


def enlarged(side: int, factor: Fraction) -> int:
    """Output pixels of `side` input pixels: `side * factor`, halves rounded down.

    Rounded up, the centre of the last output pixel would lie beyond the last input pixel.
    """
    return (2 * side * factor.numerator + factor.denominator - 1) // (2 * factor.denominator)

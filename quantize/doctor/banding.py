"""Bands on flat areas: steps where the float picture has none.

A flat window is 8x8 pixels of the float output (unrounded) that spans more than 0 and at most
`FLAT` 8-bit steps in every channel: sky, walls, skin, shadows. Clipped black and white, which
span 0, say nothing. On these windows, in 8-bit steps:

- *false edges*: pairs of neighbours with `|(q1 - q0) - (f1 - f0)| > 1`. Rounding to 8 bits moves a
  pixel by at most 1/2, hence a difference by at most 1: ideal 8-bit output has none, whatever the
  picture. What is counted is an edge (or grain) that quantization drew.
- *levels kept*: distinct values of q to distinct values of round(f), summed over windows and
  channels. Bands merge levels (< 1); noise adds some (> 1).
- *roughness*: standard deviation of q - f within a window, root mean square over windows;
  1/sqrt(12) = 0.29 for ideal rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from edgesr.quantize.doctor.diagnosis import FlatAreas

Floats = npt.NDArray[np.float32]

SIDE = 8
FLAT = 6.0
"""8-bit steps. A ramp of 0.75 steps a pixel is still smooth; texture spans more."""
_MARGIN = 1e-3
"""Above the 1 that rounding can do: float32 sums."""


@dataclass
class FlatTally:
    """Sums over tiles."""

    pixels: int = 0
    flat: int = 0
    pairs: int = 0
    false_edges: int = 0
    levels_int8: int = 0
    levels_float: int = 0
    variance: float = 0.0
    windows: int = 0

    def include(self, int8: Floats, float_: Floats) -> None:
        """Add a tile: int8 (whole steps) and float (unrounded), HxWxC in 8-bit steps."""
        height, width = (side // SIDE * SIDE for side in int8.shape[:2])
        if not height or not width:
            return
        q, f = (_windows(values[:height, :width]) for values in (int8, float_))
        self.pixels += f.shape[0] * SIDE * SIDE
        span = f.max(axis=(1, 2)) - f.min(axis=(1, 2))
        chosen = (span.max(axis=1) <= FLAT) & (span.min(axis=1) > 0)
        q, f = q[chosen], f[chosen]
        if not len(q):
            return
        self.flat += len(q) * SIDE * SIDE
        error = q - f
        for axis in (1, 2):
            jump = np.abs(np.diff(error, axis=axis))
            self.false_edges += int((jump > 1 + _MARGIN).sum())
            self.pairs += jump.size
        self.levels_int8 += _levels(q)
        self.levels_float += _levels(np.rint(f))
        self.variance += float(error.var(axis=(1, 2)).sum())
        self.windows += len(q) * q.shape[3]

    def figures(self) -> FlatAreas | None:
        """None where nothing is flat."""
        if not self.windows:
            return None
        return FlatAreas(
            share=self.flat / self.pixels,
            false_edges=self.false_edges / self.pairs,
            levels_kept=self.levels_int8 / self.levels_float,
            roughness=math.sqrt(self.variance / self.windows),
        )


def _windows(values: Floats) -> Floats:
    """HxWxC to NxSIDExSIDExC."""
    rows, columns, channels = values.shape[0] // SIDE, values.shape[1] // SIDE, values.shape[2]
    cut = values.reshape(rows, SIDE, columns, SIDE, channels).transpose(0, 2, 1, 3, 4)
    return cut.reshape(-1, SIDE, SIDE, channels)


def _levels(windows: Floats) -> int:
    """Distinct values per window and channel, summed."""
    ordered = np.sort(windows.transpose(0, 3, 1, 2).reshape(-1, SIDE * SIDE), axis=1)
    return int((np.diff(ordered, axis=1) != 0).sum()) + len(ordered)

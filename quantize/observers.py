"""From what a tensor was seen to hold to the range its codes cover.

Every observer reads the same `Histogram`, so that one calibration run serves them all. Clipping
trades a few large errors for finer steps everywhere; which is better depends on the tails, and
`mse` decides by counting both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgesr.errors import UsageError

BINS = 2048
LEVELS = 256
MOMENTUM = 0.9
PERCENTILE = 99.99
CANDIDATES = 64
"""Clipping points tried on each side."""
CLIPPING_WEIGHT = 2.0
"""Rounding errors average out in the layers after; clipped edges stay clipped together."""

Range = tuple[float, float]
Floats = npt.NDArray[np.float64]


@dataclass
class Histogram:
    """Values of one tensor over all patches, and the extremes of every patch."""

    low: float
    high: float
    counts: Floats = field(default_factory=lambda: np.zeros(BINS))
    """Over `BINS` equal bins from `low` to `high`."""
    extremes: list[Range] = field(default_factory=list)

    @property
    def centres(self) -> Floats:
        """The value in the middle of each bin."""
        width = (self.high - self.low) / BINS
        centres: Floats = self.low + width * (np.arange(BINS, dtype=np.float64) + 0.5)
        return centres


def minmax(seen: Histogram) -> Range:
    """Everything seen."""
    return seen.low, seen.high


def moving_average(seen: Histogram) -> Range:
    """Extremes averaged over patches, the newest weighing 1 - `MOMENTUM`."""
    low, high = seen.extremes[0]
    for next_low, next_high in seen.extremes[1:]:
        low = MOMENTUM * low + (1 - MOMENTUM) * next_low
        high = MOMENTUM * high + (1 - MOMENTUM) * next_high
    return low, high


def percentile(seen: Histogram) -> Range:
    """All but the `100 - PERCENTILE` per cent furthest out on each side."""
    share = np.cumsum(seen.counts) / seen.counts.sum()
    outside = (100 - PERCENTILE) / 100
    first = int(np.searchsorted(share, outside))
    last = int(np.searchsorted(share, 1 - outside))
    width = (seen.high - seen.low) / BINS
    return seen.low + first * width, seen.low + (min(last, BINS - 1) + 1) * width


def mse(seen: Histogram, *, below: float = 1.0) -> Range:
    """Least mean squared error of rounding and clipping together.

    Args:
        below: what the tensor's reader multiplies errors below zero by: a leaky ReLU's slope.
    """
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    shares = np.arange(1, CANDIDATES + 1) / CANDIDATES
    lows, highs = low * shares, high * shares
    values, counts = seen.centres, seen.counts / seen.counts.sum()
    counts = np.where(values < 0, counts * below**2, counts)
    under = [float((counts * np.maximum(bound - values, 0) ** 2).sum()) for bound in lows]
    over = [float((counts * np.maximum(values - bound, 0) ** 2).sum()) for bound in highs]
    clipping = np.array(under)[:, None] + np.array(over)[None, :]
    step = (highs[None, :] - lows[:, None]) / (LEVELS - 1)
    cost = CLIPPING_WEIGHT * clipping + counts.sum() * step**2 / 12
    i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return float(lows[i]), float(highs[j])


def kl(seen: Histogram) -> Range:
    """Least information lost about the distribution (Migacz, "8-bit Inference with TensorRT").

    The bound shrinks on the heavier side; the other shrinks with it once it is further out.
    """
    counts, best, chosen = seen.counts, np.inf, minmax(seen)
    furthest = max(abs(seen.low), abs(seen.high))
    for share in np.arange(8, CANDIDATES + 1) / CANDIDATES:
        bounds = max(seen.low, -share * furthest), min(seen.high, share * furthest)
        inside = (seen.centres >= bounds[0]) & (seen.centres <= bounds[1])
        if inside.sum() < LEVELS:
            continue
        clipped = counts[inside].copy()
        clipped[0] += counts[seen.centres < bounds[0]].sum()
        clipped[-1] += counts[seen.centres > bounds[1]].sum()
        divergence = _divergence(clipped, _coarse(counts[inside]))
        if divergence < best:
            best, chosen = divergence, bounds
    return chosen


def _coarse(counts: Floats) -> Floats:
    """The same histogram after quantization: each level's count spread over its nonempty bins."""
    level = np.arange(len(counts)) * LEVELS // len(counts)
    filled = counts > 0
    total = np.bincount(level, counts, LEVELS)
    bins = np.bincount(level, filled, LEVELS)
    spread: Floats = np.where(filled, total[level] / np.maximum(bins[level], 1), 0.0)
    return spread


def _divergence(p: Floats, q: Floats) -> float:
    p, q = p / p.sum(), q / q.sum()
    known = (p > 0) & (q > 0)
    # What q says never happens is charged as if it happened once in a million.
    missing = float(p[(p > 0) & (q == 0)].sum()) * np.log(1e6)
    return float((p[known] * np.log(p[known] / q[known])).sum() + missing)


OBSERVERS: dict[str, Callable[[Histogram], Range]] = {
    "minmax": minmax,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mse,
    "kl": kl,
}


OUTPUT = "output"
"""Not by looking at one tensor: by what its errors do to the output (`balance.py`)."""


def find_observer(name: str) -> Callable[[Histogram], Range]:
    """The observer called `name`.

    Raises:
        UsageError: there is none; the message lists them.
    """
    if name not in OBSERVERS:
        raise UsageError(f"no observer `{name}`; choose one of {OUTPUT}, {', '.join(OBSERVERS)}")
    return OBSERVERS[name]

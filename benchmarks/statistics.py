"""What a set of latency samples says: the middle, the tail, and how much it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

LEAST = 5
"""Samples below which nothing can be said about how far the median may be off."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """Latency of one contender; every figure in the unit of the samples (ms).

    Attributes:
        runs: number of samples.
        best: the fastest run; what the machine can do when nothing disturbs it.
        median: the figure to quote.
        p90, p99: nine (ninety-nine) runs in ten (a hundred) were at least as fast. With fewer
            than a hundred runs p99 lies between the two slowest.
        mean: for sums and energy, not for comparison: one interruption moves it.
        spread: coefficient of variation, sample standard deviation over mean. Above 0.1 the
            machine was busy with something else.
    """

    runs: int
    best: float
    median: float
    p90: float
    p99: float
    mean: float
    spread: float


def summarize(samples: Sequence[float]) -> Summary:
    """Summary of at least one sample.

    Percentiles interpolate linearly between the nearest ranks: definition 7 of Hyndman and Fan,
    "Sample quantiles in statistical packages", The American Statistician 1996.

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("no samples to summarize")
    values = np.asarray(samples, dtype=np.float64)
    median, p90, p99 = (float(q) for q in np.percentile(values, (50, 90, 99)))
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return Summary(
        runs=len(values), best=float(values.min()), median=median, p90=p90, p99=p99,
        mean=mean, spread=deviation / mean if mean else 0.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 % confidence, as far as one run can tell."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """Full width, in the unit of the figure."""
        return self.high - self.low


def median_interval(samples: Sequence[float], *, block: int = 3) -> Interval:
    """95 % bootstrap interval of the median.

    Neighbouring samples resemble each other (a clock that steps down, a neighbour that wakes up),
    so blocks of `block` of them are drawn, not single ones: the circular block bootstrap of Politis
    and Romano, "A circular block-resampling procedure for stationary data", 1992. The draws are
    seeded. With fewer than `LEAST` samples the interval is everything.

    Args:
        block: samples that were taken in one turn.
    """
    if len(samples) < LEAST:
        return Interval(0.0, float("inf"))
    return _interval(_medians(samples, block, seed=0))


def ratio_interval(
    numerator: Sequence[float], denominator: Sequence[float], *, block: int = 3
) -> Interval:
    """95 % bootstrap interval of the ratio of two medians, drawn as in `median_interval`."""
    if min(len(numerator), len(denominator)) < LEAST:
        return Interval(0.0, float("inf"))
    return _interval(_medians(numerator, block, seed=1) / _medians(denominator, block, seed=2))


def _medians(samples: Sequence[float], block: int, *, seed: int) -> Samples:
    values, count = np.asarray(samples, dtype=np.float64), len(samples)
    block = min(block, count)
    draws = np.random.default_rng(seed).integers(0, count, (_RESAMPLES, -(-count // block)))
    picked = (draws[:, :, None] + np.arange(block)) % count
    medians: Samples = np.median(values[picked.reshape(_RESAMPLES, -1)[:, :count]], axis=1)
    return medians


def _interval(figures: npt.NDArray[Any]) -> Interval:
    low, high = np.percentile(figures, (2.5, 97.5))
    return Interval(float(low), float(high))

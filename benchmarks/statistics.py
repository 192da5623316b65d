"""What a set of latency samples says: the middle, the tail, and how much it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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

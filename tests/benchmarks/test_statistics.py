"""Figures worked out by hand."""

import math

import numpy as np
import pytest
from edgesr.benchmarks.statistics import Interval, median_interval, ratio_interval, summarize


def test_five_samples_by_hand():
    """Ranks 0..4: the median is rank 2, p90 rank 3.6, p99 rank 3.96."""
    summary = summarize([10.0, 30.0, 20.0, 50.0, 40.0])
    assert summary.runs == 5
    assert summary.best == 10.0
    assert summary.median == 30.0
    assert summary.p90 == pytest.approx(40 + 0.6 * 10)
    assert summary.p99 == pytest.approx(40 + 0.96 * 10)
    assert summary.mean == 30.0
    # Deviations 20, 10, 0, 10, 20: variance 1000 / 4.
    assert summary.spread == pytest.approx(math.sqrt(250) / 30)


def test_the_median_of_an_even_number_lies_between_the_two_middle_ones():
    assert summarize([1.0, 2.0, 3.0, 100.0]).median == 2.5


def test_one_interruption_moves_the_tail_and_not_the_median():
    quiet, disturbed = summarize([5.0] * 20), summarize([5.0] * 19 + [500.0])
    assert quiet.spread == 0.0
    assert disturbed.median == quiet.median == disturbed.p90
    assert disturbed.p99 == pytest.approx(5 + 0.81 * 495)
    assert disturbed.spread > 1


def test_a_single_sample_is_all_of_them():
    summary = summarize([7.0])
    assert (summary.best, summary.median, summary.p99, summary.spread) == (7.0, 7.0, 7.0, 0.0)


def test_no_sample_is_an_error():
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_an_interval_of_samples_that_are_all_equal_is_a_point():
    assert median_interval([7.0] * 20) == Interval(7.0, 7.0)
    assert ratio_interval([8.0] * 20, [4.0] * 20) == Interval(2.0, 2.0)


def test_too_few_samples_say_nothing():
    assert median_interval([1.0] * 4) == Interval(0.0, math.inf)
    assert ratio_interval([1.0] * 4, [1.0] * 50) == Interval(0.0, math.inf)


def test_nineteen_intervals_in_twenty_hold_the_true_median():
    """Independent normal samples; a hundred experiments, 95 % with a few either way."""
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        interval = median_interval(random.normal(10, 1, 60).tolist(), block=1)
        hits += interval.low <= 10 <= interval.high
    assert 87 <= hits <= 100
    wide = median_interval(random.normal(10, 1, 30).tolist()).width
    assert median_interval(random.normal(10, 1, 3000).tolist()).width < wide / 3


def test_neighbours_that_resemble_each_other_widen_the_interval():
    """Ten plateaus of ten equal samples hold ten facts, not a hundred."""
    plateaus = np.repeat(np.random.default_rng(2).normal(10, 1, 10), 10).tolist()
    assert (
        median_interval(plateaus, block=10).width > 1.5 * median_interval(plateaus, block=1).width
    )


def test_the_ratio_of_two_runs_is_found():
    random = np.random.default_rng(3)
    slow, fast = random.normal(11, 0.3, 100).tolist(), random.normal(10, 0.3, 100).tolist()
    interval = ratio_interval(slow, fast)
    assert 1.07 < interval.low < 1.1 < interval.high < 1.13

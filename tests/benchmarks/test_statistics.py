"""Figures worked out by hand."""

import math

import pytest
from edgesr.benchmarks.statistics import summarize


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

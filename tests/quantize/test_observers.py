"""Observers, against ranges that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from edgesr.quantize import observers
from edgesr.quantize.balance import Balance
from edgesr.quantize.calibrate import Photos
from edgesr.quantize.observers import BINS, OBSERVERS, Histogram, find_observer
from edgesr.quantize.ranges import choose_ranges
from edgesr.quantize.statistics import Statistics
from torch import nn

from edgesr.errors import UsageError
from edgesr.graph import tensor_nodes, trace
from edgesr.network import Network


def histogram(values, low=None, high=None):
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    counts, _ = np.histogram(values, BINS, (low, high))
    return Histogram(low, high, counts.astype(float), [(low, high)])


@pytest.fixture
def bell():
    return np.random.default_rng(0).normal(0, 1, 200_000)


def test_minmax_takes_all(bell):
    assert observers.minmax(histogram(bell)) == (bell.min(), bell.max())


def test_moving_average_by_hand():
    seen = Histogram(-4, 8, extremes=[(0.0, 4.0), (-4.0, 8.0)])
    assert observers.moving_average(seen) == pytest.approx((-0.4, 4.4))


def test_percentile_leaves_one_in_ten_thousand_on_each_side(bell):
    low, high = observers.percentile(histogram(bell))
    assert np.mean(bell < low) == pytest.approx(1e-4, abs=1e-4)
    assert np.mean(bell > high) == pytest.approx(1e-4, abs=1e-4)


@pytest.mark.parametrize("spread", [0.2, 5.0])
def test_mse_is_the_best_of_all_ranges(bell, spread):
    """Against brute force over the same candidates, with values, not bins."""
    values = np.where(bell > 0, bell * spread, bell)
    values = np.append(values, [40.0, -30.0])
    low, high = observers.mse(histogram(values))

    def cost(low, high):
        step = (high - low) / 255
        clipped = np.square(values - np.clip(values, low, high)).mean()
        return observers.CLIPPING_WEIGHT * clipped + step**2 / 12

    shares = np.arange(1, 65) / 64
    best = min((cost(-30 * a, 40 * b), a, b) for a in shares for b in shares)
    assert cost(low, high) <= best[0] * 1.02
    assert high < 40 and low > -30


def test_errors_that_a_leaky_relu_shrinks_cost_less(bell):
    values = np.concatenate([bell, np.random.default_rng(1).normal(-8, 3, 20_000)])
    plain, leaky = (observers.mse(histogram(values), below=b) for b in (1.0, 0.05))
    assert leaky[0] > plain[0] and leaky[1] >= plain[1] * 0.8


def test_kl_cuts_a_lonely_outlier_but_no_even_spread():
    rng = np.random.default_rng(2)
    tailed = np.append(rng.laplace(0, 1, 300_000), 60.0)
    assert observers.kl(histogram(tailed))[1] < 30
    even = rng.uniform(-1, 1, 300_000)
    assert observers.kl(histogram(even)) == pytest.approx((-1, 1), abs=0.08)


@pytest.mark.parametrize("name", OBSERVERS)
def test_a_tensor_that_never_changes_has_a_range(name):
    class Constant(nn.Module):
        def forward(self, x):
            return x * 0 + 0.5

    graph = trace(Network(Constant(), "constant", 1))
    histograms = {node.name: Histogram(0.5, 0.5) for node in tensor_nodes(graph)}
    seen = Statistics(graph, Photos(), 0, histograms, False, Balance(np.ones(0), {}))
    assert set(choose_ranges(seen, name).values()) == {(0.5, 0.5)}


def test_an_unknown_observer_is_named():
    with pytest.raises(UsageError, match=r"no observer `best`; choose one of output, minmax"):
        find_observer("best")

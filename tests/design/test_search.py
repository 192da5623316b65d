"""The search: exact on a latency it can only ask for, whatever the steps and the noise."""

import math

import numpy as np
import pytest

from edgesr.design import SPACE, Latency, Member, Space, quality, search
from edgesr.design.quality import PUBLISHED, fitted
from edgesr.errors import UsageError


class Clock:
    """A pretended device: milliseconds by formula, and what was asked."""

    def __init__(self, ms, noise=0.0):
        self.ms, self.noise, self.asked = ms, np.random.default_rng(0).normal, []
        self.spread = noise

    def __call__(self, members):
        self.asked.append(list(members))
        return [self.ms(m) * (1 + self.spread * self.noise()) for m in members]


def smooth(m):
    return 2 + 0.05 * m.channels + m.depth * (0.2 + 0.0015 * m.channels**1.8)


def steps(m):
    """Tiles of 16 channels, as XNNPACK's."""
    return 5 + m.depth * (0.2 + 0.6 * math.ceil(m.channels / 16) ** 1.6)


def uneven(m):
    """12 and 24 of 32 channels cost more than all: the remainder goes through a slower kernel."""
    return steps(m) * (1.25 if m.channels % 16 else 1)


def best_of_all(ms, budget):
    return max((m for m in SPACE.members if ms(m) <= budget), key=quality)


@pytest.mark.parametrize("ms", [smooth, steps, uneven])
@pytest.mark.parametrize("budget", [8, 12, 20, 30])
def test_the_best_is_found_with_few_measurements(ms, budget):
    clock = Clock(ms)
    found = search(SPACE, budget, clock)
    assert found.chosen == best_of_all(ms, budget)
    assert found.timed[found.chosen] <= budget
    assert sum(map(len, clock.asked)) <= 20 < len(SPACE.members) / 4


def test_what_is_chosen_was_measured_and_keeps_the_budget_under_noise():
    for seed in range(5):
        clock = Clock(steps, noise=0.08)
        clock.noise = np.random.default_rng(seed).normal
        found = search(SPACE, 20, clock)
        assert found.timed[found.chosen] <= 20
        assert quality(found.chosen) > quality(best_of_all(steps, 20)) - 0.06
        assert all(quality(m) <= quality(found.chosen) for m, t in found.timed.items() if t <= 20)


def test_the_same_measurements_give_the_same_search():
    one, two = Clock(uneven), Clock(uneven)
    assert search(SPACE, 15, one) == search(SPACE, 15, two)
    assert one.asked == two.asked and one.asked[0] == SPACE.probes


def test_a_model_that_was_wrong_is_corrected_and_asked_again():
    """The probes see 8, 16, 32, 64; in between everything costs what the next power does."""

    def cruel(m):
        return 1 + m.depth * 2 ** math.ceil(math.log2(m.channels)) / 8

    clock = Clock(cruel)
    found = search(SPACE, 27, clock, finalists=2)
    assert len(clock.asked) > 2
    assert found.chosen == best_of_all(cruel, 27)
    # What the first rounds have shown to be too slow is not asked for again and again.
    found_in_time = search(SPACE, 70, Clock(cruel), finalists=2, rounds=3)
    assert found_in_time.chosen == best_of_all(cruel, 70)
    wrong = [m for m, guess in found.predicted.items() if found.timed[m] > 1.2 * guess]
    assert wrong, "or this test shows nothing"


def test_a_budget_nobody_meets_names_the_fastest():
    clock = Clock(steps)
    with pytest.raises(UsageError, match=r"takes 1 ms or less: the fastest, plain-d2c8, takes 6.6"):
        search(SPACE, 1, clock)
    assert len(clock.asked) == 1


def test_a_budget_for_everything_takes_the_largest():
    assert search(SPACE, 1e6, Clock(steps)).chosen == SPACE.members[-1]


def test_a_space_of_one():
    only = Space((4,), (16,))
    found = search(only, 100, Clock(steps))
    assert found.chosen == Member(4, 16) and list(found.timed) == [Member(4, 16)]


def test_the_table_has_everything_that_was_timed_best_first():
    found = search(SPACE, 15, Clock(steps))
    assert sorted(found.table) == sorted(found.timed)
    assert [quality(m) for m in found.table] == sorted(map(quality, found.timed), reverse=True)
    assert set(found.predicted).isdisjoint(SPACE.probes)


def test_latency_by_hand():
    probes = {Member(2, 8): 4.0, Member(6, 8): 8.0, Member(2, 32): 10.0, Member(6, 32): 22.0}
    model = Latency(probes, {})
    assert model.of(Member(6, 32)) == 22.0
    assert model.of(Member(4, 8)) == pytest.approx(6.0)
    # Half way between the widths: starts at 7, rises by 2.
    assert model.of(Member(12, 20)) == pytest.approx(7 + 2 * 10)
    # One member of that width took 1.2 times its guess of 15.
    assert Latency(probes, {Member(6, 20): 18.0}).of(Member(2, 20)) == pytest.approx(8.4)


def test_latency_is_monotone_whatever_was_measured():
    rng = np.random.default_rng(1)
    for _ in range(20):
        probes = {m: float(rng.uniform(1, 20)) for m in SPACE.probes}
        timed = {Member(int(d), 24): float(rng.uniform(1, 20)) for d in rng.integers(3, 6, 2)}
        model = Latency(probes, timed)
        fresh = [m for m in SPACE.members if m not in probes and m not in timed]
        for small in fresh:
            for large in fresh:
                if small.depth <= large.depth and small.channels <= large.channels:
                    assert model.of(small) <= model.of(large) + 1e-9


def test_quality_follows_the_published_figures():
    per_depth, per_width = fitted()
    assert per_depth > 0 and per_width > 0
    for figures in PUBLISHED.values():
        members = list(figures)
        shift = np.mean([figures[m] - quality(m) for m in members])
        assert all(abs(quality(m) + shift - figures[m]) < 0.05 for m in members)
        assert sorted(members, key=quality) == sorted(members, key=figures.__getitem__)

"""Who is called when, and that nothing but the call is timed."""

import gc
import time
from collections import Counter

import pytest
from edgesr.benchmarks.harness import MOST, Contender, LostError, Plan, measure

from edgesr.errors import UsageError


class FakeClock:
    """Time passes only when somebody says so."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def pass_ms(self, duration):
        self.now += round(duration * 1e6)


def recorded(plan, names=("a", "b", "c")):
    """Measure contenders that only write down that they were called."""
    calls = []
    contenders = [
        Contender(n, lambda n=n: calls.append(n), lambda n=n: calls.append(n.upper()))
        for n in names
    ]
    samples = measure(contenders, plan)
    return calls, samples


def test_contenders_take_turns_in_every_round():
    """However long the run, no contender waits for another to finish all its runs."""
    plan = Plan(runs=12, warm_up=2, turn=3, settle=1)
    calls, samples = recorded(plan)
    warm_up, rounds = calls[: 3 * (1 + 2)], calls[3 * (1 + 2) :]
    assert Counter(c for c in warm_up if c.islower()) == {"a": 2, "b": 2, "c": 2}
    turns = [rounds[i : i + 5] for i in range(0, len(rounds), 5)]
    assert len(turns) == 4 * 3
    for turn in turns:
        # prepared, one settling call, three timed ones, all of the same contender
        assert turn == [turn[1].upper()] + [turn[1]] * 4
    for i in range(0, len(turns), 3):
        assert {turn[1] for turn in turns[i : i + 3]} == {"a", "b", "c"}
    assert [len(s) for s in samples] == [12, 12, 12]


def test_the_order_is_random_repeatable_and_different_each_round():
    orders = [tuple(turns) for turns in Plan(runs=60, turn=1, seed=1).order(4)]
    assert len(orders) == 60
    assert len(set(orders)) > 10
    assert orders == [tuple(turns) for turns in Plan(runs=60, turn=1, seed=1).order(4)]
    assert orders != [tuple(turns) for turns in Plan(runs=60, turn=1, seed=2).order(4)]
    first = Counter(turns[0] for turns in orders)
    assert max(first.values()) < 30, "nobody always goes first"


def test_runs_are_rounded_up_to_whole_turns():
    _, samples = recorded(Plan(runs=7, turn=3))
    assert [len(s) for s in samples] == [9, 9, 9]


def test_only_the_call_is_timed():
    """Preparing, settling and the progress bar take an hour each and do not show."""
    clock = FakeClock()
    settled = []

    def call():
        # the first call of a turn is the settling one
        settled.append(None)
        clock.pass_ms(3_600_000 if len(settled) % 3 == 1 else 4)

    contender = Contender("x", call, lambda: clock.pass_ms(3_600_000))
    (samples,) = measure(
        [contender], Plan(runs=6, warm_up=0, turn=2, settle=1), clock=clock,
        after_turn=lambda: clock.pass_ms(3_600_000),
    )  # fmt: skip
    assert samples == [4.0] * 6


def test_drift_hits_all_contenders_alike():
    """The machine slows down to a third during the run; twice as slow stays twice as slow."""
    clock = FakeClock()

    def work(duration):
        return lambda: clock.pass_ms(duration * (1 + 2 * min(1, clock.now / 60e9)))

    fast, slow = measure(
        [Contender("fast", work(10)), Contender("slow", work(20))],
        Plan(runs=600, turn=3), clock=clock,
    )  # fmt: skip
    assert sorted(slow)[300] / sorted(fast)[300] == pytest.approx(2, rel=0.03)


def test_overhead_is_below_one_percent_of_a_millisecond():
    """Every network takes longer than a millisecond; clock and call take less than 10 us."""
    (samples,) = measure([Contender("nothing", lambda: None)], Plan(runs=300))
    assert sorted(samples)[150] < 0.01


def test_collection_waits_and_comes_back():
    states = []
    measure([Contender("x", lambda: states.append(gc.isenabled()))], Plan(runs=1))
    assert not any(states)
    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        measure([Contender("x", lambda: (_ for _ in ()).throw(RuntimeError))], Plan(runs=1))
    assert gc.isenabled()


def test_real_time_is_milliseconds():
    (samples,) = measure(
        [Contender("nap", lambda: time.sleep(0.005))], Plan(runs=3, warm_up=0, settle=0)
    )
    assert all(5 <= sample < 500 for sample in samples)


@pytest.mark.parametrize(
    "wrong",
    [
        {"runs": 0},
        {"turn": 0},
        {"warm_up": -1},
        {"settle": -1},
        {"processes": -1},
        {"until_stable": 1},
    ],
)
def test_a_plan_without_runs_is_a_usage_error(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Plan(**wrong)


def test_a_run_goes_on_until_its_median_is_known():
    """Two plateaus, 10 and 20 ms, in turn: the median is unknown until many were seen."""
    clock, calls = FakeClock(), []

    def call():
        calls.append(None)
        clock.pass_ms(10 if len(calls) // 3 % 2 else 20)

    plan = Plan(runs=9, warm_up=0, settle=0, until_stable=0.05)
    (steady,) = measure([Contender("x", lambda: clock.pass_ms(7))], plan, clock=clock)
    assert len(steady) == 9, "already stable"
    (unsteady,) = measure([Contender("x", call)], plan, clock=clock)
    assert len(unsteady) == MOST * 9, "never stable: the cap ends it"
    settles = iter([10.0, 30.0] * 6)
    (found,) = measure(
        [Contender("x", lambda: clock.pass_ms(next(settles, 7.0)))], plan, clock=clock
    )
    assert 9 < len(found) < MOST * 9


def test_one_that_is_lost_leaves_the_others_alone():
    class Mortal(Contender):
        def take(self, untimed, timed, clock):
            if timed and clock.now > 40e6:
                raise LostError("gone")
            return super().take(untimed, timed, clock)

    clock = FakeClock()
    contenders = [
        Mortal("a", lambda: clock.pass_ms(1)), Contender("b", lambda: clock.pass_ms(1)),
    ]  # fmt: skip
    lost = []
    plan = Plan(runs=30, turn=3)
    samples = measure(contenders, plan, clock=clock, lost=lambda *who: lost.append(who))
    assert samples[0] == [] and samples[1] == [1.0] * 30
    assert [index for index, _ in lost] == [0]
    with pytest.raises(LostError):
        measure(contenders, plan, clock=clock)

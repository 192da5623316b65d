"""Time several things in one run, interleaved, so that drift hits all of them alike.

A machine that warms up, clocks down or serves somebody else for ten seconds would favour whoever
happens to be measured in the other ten. So contenders take turns: round after round, each round in
a new random order (seeded, so a run can be repeated). A turn is a few untimed calls, which bring
back the caches and worker threads that the previous contender left cold, then a few timed ones.

Between the two clock readings stands the call and nothing else; garbage collection waits.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from edgesr.benchmarks.statistics import median_interval

from edgesr.errors import EnvironmentLimitError, UsageError

Clock = Callable[[], int]
"""Nanoseconds, monotonic."""


MOST = 10
"""Times `runs` that `until_stable` may take."""


class LostError(EnvironmentLimitError):
    """A contender is gone in the middle of a run: its process died or hangs. Exit code 9."""


def _nothing() -> None:
    pass


class Timed(Protocol):
    """Something that takes turns."""

    @property
    def label(self) -> str:
        """Who it is."""

    def take(self, untimed: int, timed: int, clock: Clock) -> list[float]:
        """Call it `untimed` times, then `timed` times; milliseconds of the latter.

        Raises:
            LostError: it is not there any more.
        """


@dataclass(frozen=True)
class Contender:
    """One thing to time, in this process.

    Attributes:
        label: who it is, for progress and errors.
        call: what is timed; its result is dropped.
        prepare: called untimed before each turn (sets global state such as torch's threads).
    """

    label: str
    call: Callable[[], object]
    prepare: Callable[[], None] = _nothing

    def take(self, untimed: int, timed: int, clock: Clock = time.perf_counter_ns) -> list[float]:
        """See `Timed.take`."""
        call = self.call
        self.prepare()
        for _ in range(untimed):
            call()
        elapsed = []
        for _ in range(timed):
            start = clock()
            call()
            elapsed.append((clock() - start) / 1e6)
        return elapsed


@dataclass(frozen=True)
class Plan:
    """How often and in which order.

    Attributes:
        runs: timed calls per contender (rounded up to whole turns).
        warm_up: untimed calls per contender before the first round.
        turn: timed calls per turn.
        settle: untimed calls at the start of each turn.
        seed: of the order of turns.
        processes: fresh processes per contender, each with its own warm-up and runs; 0 times in
            this process (of a device: in as many as it likes).
        until_stable: go on until the 95 % interval of every median is narrower than this share
            of it, up to `MOST` times `runs`; 0 stops after `runs`.
    """

    runs: int = 30
    warm_up: int = 3
    turn: int = 3
    settle: int = 1
    seed: int = 0
    processes: int = 0
    until_stable: float = 0.0

    def __post_init__(self) -> None:
        least_of = {"runs": 1, "turn": 1, "warm_up": 0, "settle": 0, "processes": 0}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not 0 <= self.until_stable < 1:
            raise UsageError(f"until_stable is a share below 1, not {self.until_stable}")

    @property
    def rounds(self) -> int:
        """Turns each contender gets."""
        return math.ceil(self.runs / self.turn)

    @property
    def most_rounds(self) -> int:
        """Turns each contender gets at the most."""
        return self.rounds * (MOST if self.until_stable else 1)

    def order(self, contenders: int) -> Iterator[list[int]]:
        """For each round, the indices of the contenders in the order they take their turn."""
        shuffle = random.Random(self.seed).shuffle
        for _ in range(self.most_rounds):
            turns = list(range(contenders))
            shuffle(turns)
            yield turns


def measure(
    contenders: Sequence[Timed],
    plan: Plan,
    *,
    clock: Clock = time.perf_counter_ns,
    after_turn: Callable[[], None] = _nothing,
    lost: Callable[[int, LostError], None] | None = None,
) -> list[list[float]]:
    """Time the contenders against each other.

    Args:
        contenders: what to time, ready to be called.
        plan: how often.
        clock: for tests.
        after_turn: called after each turn, untimed (moves the progress bar).
        lost: told of a contender that is gone; the others go on without it.

    Returns:
        For each contender its samples in milliseconds, in the order they were taken; none for one
        that was lost.

    Raises:
        LostError: a contender is gone, and `lost` is not given.
    """
    samples: list[list[float]] = [[] for _ in contenders]
    gone: set[int] = set()

    def take(index: int, untimed: int, timed: int) -> None:
        if index in gone:
            return
        try:
            samples[index] += contenders[index].take(untimed, timed, clock)
        except LostError as error:
            if lost is None:
                raise
            gone.add(index)
            samples[index].clear()
            lost(index, error)

    with _collection_paused():
        for index in range(len(contenders)):
            take(index, plan.warm_up, 0)
        for number, turns in enumerate(plan.order(len(contenders))):
            if number >= plan.rounds and number % 3 == 0 and _all_stable(samples, plan):
                break
            for index in turns:
                take(index, plan.settle, plan.turn)
                after_turn()
    return samples


def _all_stable(samples: Sequence[Sequence[float]], plan: Plan) -> bool:
    def stable(taken: Sequence[float]) -> bool:
        interval = median_interval(taken, block=plan.turn)
        return interval.width <= plan.until_stable * interval.low

    return all(stable(taken) for taken in samples if taken)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """A collection inside a timed call would be billed to whoever is running."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

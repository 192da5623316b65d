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

from edgesr.errors import UsageError

Clock = Callable[[], int]
"""Nanoseconds, monotonic."""


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """One thing to time.

    Attributes:
        label: who it is, for progress and errors.
        call: what is timed; its result is dropped.
        prepare: called untimed before each turn (sets global state such as torch's threads).
    """

    label: str
    call: Callable[[], object]
    prepare: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Plan:
    """How often and in which order.

    Attributes:
        runs: timed calls per contender (rounded up to whole turns).
        warm_up: untimed calls per contender before the first round.
        turn: timed calls per turn.
        settle: untimed calls at the start of each turn.
        seed: of the order of turns.
    """

    runs: int = 30
    warm_up: int = 3
    turn: int = 3
    settle: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("runs", 1), ("turn", 1), ("warm_up", 0), ("settle", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @property
    def rounds(self) -> int:
        """Turns each contender gets."""
        return math.ceil(self.runs / self.turn)

    def order(self, contenders: int) -> Iterator[list[int]]:
        """For each round, the indices of the contenders in the order they take their turn."""
        shuffle = random.Random(self.seed).shuffle
        for _ in range(self.rounds):
            turns = list(range(contenders))
            shuffle(turns)
            yield turns


def measure(
    contenders: Sequence[Contender],
    plan: Plan,
    *,
    clock: Clock = time.perf_counter_ns,
    after_turn: Callable[[], None] = _nothing,
) -> list[list[float]]:
    """Time the contenders against each other.

    Args:
        contenders: what to time, ready to be called.
        plan: how often.
        clock: for tests.
        after_turn: called after each turn, untimed (moves the progress bar).

    Returns:
        For each contender its samples in milliseconds, in the order they were taken.
    """
    samples: list[list[float]] = [[] for _ in contenders]
    with _collection_paused():
        for contender in contenders:
            contender.prepare()
            for _ in range(plan.warm_up):
                contender.call()
        for turns in plan.order(len(contenders)):
            for index in turns:
                samples[index] += _turn(contenders[index], plan, clock)
                after_turn()
    return samples


def _turn(contender: Contender, plan: Plan, clock: Clock) -> list[float]:
    call = contender.call
    contender.prepare()
    for _ in range(plan.settle):
        call()
    elapsed = []
    for _ in range(plan.turn):
        start = clock()
        call()
        elapsed.append((clock() - start) / 1e6)
    return elapsed


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

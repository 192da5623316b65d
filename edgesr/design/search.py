"""Choose: predict all sizes, time those near the budget, take the best that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesr.design.family import Member, Space
from edgesr.design.latency import Latency
from edgesr.design.quality import quality
from edgesr.errors import UsageError

Measure = Callable[[Sequence[Member]], Sequence[float]]
"""Milliseconds of each, timed against each other. All that is not determined lies in here."""

NEAR = 1.05
"""Predictions this far above the budget are timed, too."""


@dataclass(frozen=True)
class Found:
    """The outcome of a search."""

    chosen: Member
    timed: dict[Member, float]
    """Milliseconds of everything that was timed, in that order."""
    predicted: dict[Member, float]
    """What the model had said of those it was asked about before they were timed."""
    budget: float

    @property
    def table(self) -> list[Member]:
        """All that were timed, the best first."""
        return sorted(self.timed, key=_rank, reverse=True)


def search(
    space: Space, budget: float, measure: Measure, *, finalists: int = 6, rounds: int = 4
) -> Found:
    """The member of the highest `quality` whose measured latency is within the budget.

    Args:
        budget: milliseconds.
        measure: called with the probes, then with the finalists of each round.
        finalists: how many are timed in a round: the best that the model lets through.
        rounds: at most; the search ends earlier when nothing better is left to try.

    Raises:
        UsageError: no member is fast enough; the message names the fastest.
    """
    probes = space.probes
    timed = dict(zip(probes, measure(probes), strict=True))
    probed, predicted = dict(timed), dict[Member, float]()
    ranked = sorted(space.members, key=_rank, reverse=True)
    for _ in range(rounds):
        model = Latency(probed, timed)
        best = _best(timed, budget)
        tries = [
            member
            for member in ranked
            if member not in timed
            and model.of(member) <= NEAR * budget
            and (best is None or _rank(member) > _rank(best))
        ][:finalists]
        if not tries:
            break
        predicted |= {member: model.of(member) for member in tries}
        timed |= dict(zip(tries, measure(tries), strict=True))
    chosen = _best(timed, budget)
    if chosen is None:
        fastest = min(timed, key=lambda member: timed[member])
        raise UsageError(
            f"no network of the plain family takes {budget:g} ms or less: the fastest, "
            f"plain-d{fastest.depth}c{fastest.channels}, takes {timed[fastest]:.1f} ms; raise "
            "--budget or choose a smaller --shape"
        )
    return Found(chosen, timed, predicted, budget)


def _best(timed: dict[Member, float], budget: float) -> Member | None:
    kept = [member for member, ms in timed.items() if ms <= budget]
    return max(kept, key=_rank, default=None)


def _rank(member: Member) -> tuple[float, Member]:
    return quality(member), member

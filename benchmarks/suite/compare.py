"""Two results of the same suite or benchmark: did anything become slower or worse?

Rows are matched by network, precision, target, device, runtime, threads and size. A row fails when
the 95 % interval of the ratio of medians lies *wholly* beyond the bound: noise alone then fails
one row in forty at the most that sits exactly on the bound, and hardly any that did not change. A
row whose interval merely reaches beyond the bound is unclear: more runs would tell. Quality has no
noise, so a drop beyond its bound fails as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgesr.benchmarks.results import NOISY, BenchResult, Row, read_result
from edgesr.benchmarks.statistics import Interval, ratio_interval
from edgesr.benchmarks.suite.result import Quality, SuiteResult, read_suite

from edgesr.errors import BadFileError, UsageError

Verdict = Literal["same", "faster", "slower", "unclear"]

_MACHINE = ("cpu", "cores", "instructions", "memory_gb", "system")
_PLACE = ("network", "target", "precision")
"""Of a manifest: what an artifact is, whatever its weights and its file are called."""


@dataclass(frozen=True)
class Latency:
    """One row before and after."""

    row: str
    before_ms: float
    after_ms: float
    ratio: float
    """Of medians, after over before."""
    interval: Interval
    """Of the ratio, 95 %."""
    verdict: Verdict
    noisy: bool
    """Either side spreads so much that a figure of it should not be quoted."""


@dataclass(frozen=True)
class Drop:
    """One quality before and after."""

    what: str
    before_db: float
    after_db: float
    failed: bool

    @property
    def drop(self) -> float:
        """dB lost."""
        return self.before_db - self.after_db


@dataclass(frozen=True)
class Comparison:
    """What changed from one result to another."""

    latencies: list[Latency]
    drops: list[Drop]
    missing: list[str]
    """What was there before and is not any more."""
    machines: list[str]
    """In which facts the machines differ."""
    versions: list[str]
    """Runtimes that were updated in between."""

    @property
    def failed(self) -> list[str]:
        """Sentences about what is beyond its bound."""
        slower = [
            f"{row.row}: {row.ratio - 1:+.1%} ({row.interval.low - 1:+.1%} to "
            f"{row.interval.high - 1:+.1%}), {row.before_ms:.2f} to {row.after_ms:.2f} ms"
            for row in self.latencies
            if row.verdict == "slower"
        ]
        worse = [
            f"{q.what}: {q.drop:.3f} dB lost, {q.before_db:.3f} to {q.after_db:.3f} dB"
            for q in self.drops
            if q.failed
        ]
        return slower + worse + [f"{what}: missing" for what in self.missing]

    @property
    def unclear(self) -> list[str]:
        """Rows whose interval reaches beyond the bound and does not lie there."""
        return [row.row for row in self.latencies if row.verdict == "unclear"]


def read_either(path: Path) -> SuiteResult:
    """The result of a suite, or of `edgesr bench --out` as a suite of one run.

    Raises:
        BadFileError: neither.
    """
    try:
        return read_suite(path)
    except BadFileError as error:
        try:
            run = read_result(path)
        except BadFileError:
            raise error from None
        return SuiteResult(path.stem, run.started, [run], [], [])


def compare(
    before: SuiteResult,
    after: SuiteResult,
    *,
    max_slowdown: float = 0.05,
    max_drop: float = 0.03,
    any_machine: bool = False,
) -> Comparison:
    """Hold two results against each other.

    Args:
        max_slowdown: share of the median that a row may lose.
        max_drop: dB that an artifact may lose on a set of images.
        any_machine: compare even if processor, memory or system differ.

    Raises:
        UsageError: different machines, or nothing in common.
    """
    machines = _apart(_facts(before), _facts(after), "and")
    if machines and not any_machine:
        raise UsageError(
            f"the results are of different machines ({'; '.join(machines)}): a difference would "
            "say nothing about the models. --any-machine compares all the same"
        )
    old, new = _rows(before), _rows(after)
    old_quality, new_quality = _qualities(before), _qualities(after)
    shared = [key for key in old if key in new]
    judged = [key for key in old_quality if key in new_quality]
    if not shared and not judged:
        raise UsageError("the results have no row in common: other artifacts, devices or threads")
    return Comparison(
        latencies=[_latency(key, old[key], new[key], max_slowdown) for key in shared],
        drops=[
            Drop(key, old_quality[key].db, new_quality[key].db,
                 old_quality[key].db - new_quality[key].db > max_drop)
            for key in judged
        ],
        missing=[key for key in (*old, *old_quality) if key not in (new.keys() | new_quality)],
        machines=machines,
        versions=_apart(_packages(before), _packages(after), "to"),
    )  # fmt: skip


def _latency(
    name: str, old: tuple[BenchResult, Row], new: tuple[BenchResult, Row], bound: float
) -> Latency:
    before, after = old[1].samples, new[1].samples
    block = max(old[0].plan.turn, new[0].plan.turn)
    interval = ratio_interval(after, before, block=block)
    summaries = old[1].summary, new[1].summary
    ratio = summaries[1].median / summaries[0].median
    return Latency(
        name, summaries[0].median, summaries[1].median, ratio, interval,
        _verdict(interval, bound), any(s.spread > NOISY for s in summaries),
    )  # fmt: skip


def _verdict(ratio: Interval, bound: float) -> Verdict:
    if ratio.low > 1 + bound:
        return "slower"
    if ratio.high > 1 + bound:
        return "unclear"
    return "faster" if ratio.high < 1 - bound else "same"


def _rows(result: SuiteResult) -> dict[str, tuple[BenchResult, Row]]:
    """Measured rows by what they are; of two, the later."""
    return {_name(row): (run, row) for run, row in result.rows() if row.samples}


def _name(row: Row) -> str:
    facts = [str(row.manifest.get(fact, "")) for fact in _PLACE]
    what = " ".join(facts) if all(facts) else row.artifact
    return (
        f"{what} {row.height}x{row.width}, {row.runtime} on {row.device}, {row.threads} thread(s)"
    )


def _qualities(result: SuiteResult) -> dict[str, Quality]:
    return {
        f"{q.network} {q.target} {q.precision} on {q.dataset} ({q.protocol})": q
        for q in result.quality
    }


def _facts(result: SuiteResult) -> Iterator[tuple[str, str]]:
    """What may make two latencies incomparable, by name."""
    for run, row in result.rows():
        if row.samples:
            for name in _MACHINE:
                yield name, str(getattr(run.machine, name))
            if row.device != "cpu" and "model" in row.facts:
                yield f"{row.device} is a", str(row.facts["model"])


def _packages(result: SuiteResult) -> Iterator[tuple[str, str]]:
    for run, row in result.rows():
        if row.samples:
            yield row.runtime, row.runtime_version
            yield "python", run.machine.python


def _apart(
    before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]], joined: str
) -> list[str]:
    """Names whose values differ from one side to the other, with both."""
    old, new = _grouped(before), _grouped(after)
    return [
        f"{name} {', '.join(sorted(old[name]))} {joined} {', '.join(sorted(new[name]))}"
        for name in old
        if name in new and old[name] != new[name]
    ]


def _grouped(facts: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, value in facts:
        found.setdefault(name, set()).add(value)
    return found


def table(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat mapping per row, latencies first."""
    rows: list[dict[str, Any]] = [
        {
            "what": row.row, "before": row.before_ms, "after": row.after_ms, "unit": "ms",
            "change_percent": 100 * (row.ratio - 1), "low_percent": 100 * (row.interval.low - 1),
            "high_percent": 100 * (row.interval.high - 1), "verdict": row.verdict,
            "noisy": row.noisy,
        }
        for row in comparison.latencies
    ]  # fmt: skip
    rows += [
        {
            "what": q.what, "before": q.before_db, "after": q.after_db, "unit": "dB",
            "drop_db": q.drop, "verdict": "worse" if q.failed else "same",
        }
        for q in comparison.drops
    ]  # fmt: skip
    return rows

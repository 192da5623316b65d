"""Benchmark on the processor of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median

from edgesr.benchmarks import entrants as lineup
from edgesr.benchmarks import peak
from edgesr.benchmarks.entrants import Entrant, Runner
from edgesr.benchmarks.harness import LostError, Plan, Timed, measure
from edgesr.benchmarks.machine import Load, LoadMeter, this_machine
from edgesr.benchmarks.memory import measure_memory
from edgesr.benchmarks.opening import open_entrant
from edgesr.benchmarks.results import BenchResult, Copy, Peak, Row, row_from
from edgesr.benchmarks.timed_process import Seat, TimedProcess, open_process

from edgesr.errors import EdgesrError

Progress = Callable[[str, int, int], None]
"""Called with what is going on, steps done, and steps in all."""
Lost = Callable[[Entrant, EdgesrError], None]
"""Told of an entrant that could not be opened, or is gone."""

Ceiling = tuple[peak.Ceiling, int, int]
"""Arguments of `peak.ceiling`: kind, threads, side."""


def _silent(_what: str, _done: int, _all: int) -> None:
    pass


@dataclasses.dataclass
class _Timing:
    """Everything that grows while a benchmark runs."""

    rows: dict[Entrant, list[Row]]
    """By entrant; one per process, samples in it."""
    ceilings: dict[Ceiling, list[float]]
    loads: list[Load]


def bench(
    entrants: Sequence[Entrant],
    plan: Plan | None = None,
    *,
    memory: bool = True,
    ceilings: bool = True,
    open_runner: Callable[[Entrant], Runner] = lineup.open_runner,
    progress: Progress = _silent,
    lost: Lost | None = None,
) -> BenchResult:
    """Time all entrants and the ceilings they stand under in one interleaved run.

    Args:
        entrants: from `line_up`. Each gets a session of its own, so that its threads are its own.
        plan: how often, and in how many processes; 30 runs in this process when left out.
        memory: also run each entrant in a child process for its peak memory (seconds each).
            Processes of their own tell it anyway.
        ceilings: also time matrix products and copies, for shares of them; processes always do.
        open_runner: opens an entrant in this process.
        progress: told about every step.
        lost: told of entrants that fail in a process of their own; the others go on.

    Raises:
        EdgesrError: an artifact cannot be opened or run, and `lost` is not given.
    """
    plan = plan or Plan()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    timing = _Timing({}, {}, [])
    if plan.processes:
        entrants = list(dict.fromkeys(entrants))
        for number in range(plan.processes):
            generation = dataclasses.replace(plan, seed=plan.seed + number)
            entrants = _in_children(entrants, generation, timing, progress, lost)
    else:
        _here(entrants, plan, timing, open_runner, progress, ceilings)
    rows = [_merged(timing.rows[entrant]) for entrant in entrants if entrant in timing.rows]
    if memory and not plan.processes:
        rows = _with_memory(rows, entrants, progress)
    return BenchResult(
        rows=rows,
        peaks=[
            Peak(peak.arithmetic_of(kind), threads, side**3, taken)
            for (kind, threads, side), taken in timing.ceilings.items()
            if kind != "copy" and taken
        ],
        plan=plan,
        machine=this_machine(),
        load=_mean_load(timing.loads),
        started=started,
        copies=[
            Copy(threads, 2 * peak.COPIED, taken)
            for (kind, threads, _), taken in timing.ceilings.items()
            if kind == "copy" and taken
        ],
    )


def _here(
    entrants: Sequence[Entrant],
    plan: Plan,
    timing: _Timing,
    open_runner: Callable[[Entrant], Runner],
    progress: Progress,
    with_ceilings: bool,
) -> None:
    """All in this process."""
    rows: list[Row] = []
    contenders: list[Timed] = []
    for index, entrant in enumerate(entrants):
        progress(f"opening {entrant.name} in {entrant.runtime}", index, len(entrants))
        row, contender = open_entrant(entrant, open_runner)
        rows.append(row)
        contenders.append(contender)
    ceilings = ceilings_of(rows) if with_ceilings else []
    contenders += [peak.ceiling(*ceiling) for ceiling in ceilings]
    turns = _Counter(progress, "timing", plan.rounds * len(contenders))
    meter = LoadMeter()
    samples = measure(contenders, plan, after_turn=turns.step)
    timing.loads.append(meter.stop())
    for entrant, row, taken in zip(entrants, rows, samples[: len(rows)], strict=True):
        timing.rows.setdefault(entrant, []).append(dataclasses.replace(row, samples=taken))
    timing.ceilings = dict(zip(ceilings, samples[len(rows) :], strict=True))


def _in_children(
    entrants: Sequence[Entrant],
    plan: Plan,
    timing: _Timing,
    progress: Progress,
    lost: Lost | None,
) -> list[Entrant]:
    """Each in a fresh process, all of them alive until every one has had its turns.

    Returns:
        Those that are still there.
    """
    opened: dict[Entrant, tuple[Row, TimedProcess]] = {}
    gone: list[Entrant] = []

    def lose(entrant: Entrant, error: EdgesrError) -> None:
        if lost is None:
            raise error
        gone.append(entrant)
        lost(entrant, error)

    judges: TimedProcess | None = None
    try:
        for index, entrant in enumerate(entrants):
            progress(f"opening {entrant.name} in {entrant.runtime}", index, len(entrants))
            try:
                process = open_process(entrant)
                opened[entrant] = row_from(process.ready["row"]), process
            except EdgesrError as error:
                lose(entrant, error)
        ceilings = ceilings_of([row for row, _ in opened.values()])
        judges = TimedProcess("matrix products", {"ceilings": ceilings}) if ceilings else None
        seats = [Seat(process) for _, process in opened.values()]
        judging = [] if judges is None else [Seat(judges, n) for n in range(len(ceilings))]
        turns = _Counter(progress, "timing", plan.rounds * (len(seats) + len(judging)))
        names = list(opened)

        def lose_seat(index: int, error: LostError) -> None:
            if index >= len(names):
                raise error
            lose(names[index], error)

        meter = LoadMeter()
        samples = measure([*seats, *judging], plan, after_turn=turns.step, lost=lose_seat)
        processes = [p for _, p in opened.values()] + ([judges] if judges else [])
        timing.loads.append(meter.stop(sum(process.cpu_seconds for process in processes)))
    finally:
        for process in [p for _, p in opened.values()] + ([judges] if judges else []):
            process.close()
    for (entrant, (row, _)), taken in zip(opened.items(), samples[: len(opened)], strict=True):
        if entrant not in gone:
            timing.rows.setdefault(entrant, []).append(dataclasses.replace(row, samples=taken))
    for ceiling, taken in zip(ceilings, samples[len(opened) :], strict=True):
        timing.ceilings.setdefault(ceiling, []).extend(taken)
    return [entrant for entrant in entrants if entrant not in gone]


def ceilings_of(rows: Sequence[Row]) -> list[Ceiling]:
    """What `rows` stand under: their matrix products, and a copy for every number of threads."""
    products = sorted({(peak.arithmetic_of(row.precision), row.threads) for row in rows})
    found: list[Ceiling] = [(*product, side) for product in products for side in peak.SIDES]
    return found + [("copy", threads, 0) for threads in sorted({row.threads for row in rows})]


def _merged(rows: Sequence[Row]) -> Row:
    """The rows of one entrant's processes as one: all samples, the median of every phase."""
    first = rows[0]
    heaviest = max((r.memory for r in rows if r.memory), key=lambda m: m.increase_mb, default=None)
    return dataclasses.replace(
        first,
        samples=[sample for row in rows for sample in row.samples],
        by_process=tuple(len(row.samples) for row in rows) if len(rows) > 1 else (),
        phases={name: median(row.phases[name] for row in rows) for name in first.phases},
        memory=heaviest,
    )


def _mean_load(loads: Sequence[Load]) -> Load:
    """Of several generations of processes."""
    others = [load.others for load in loads if load.others is not None]
    if not loads:
        return Load(None, None, None)
    mean = sum(others) / len(others) if others else None
    return Load(loads[0].before, loads[-1].after, mean)


def _with_memory(rows: Sequence[Row], entrants: Sequence[Entrant], progress: Progress) -> list[Row]:
    found = []
    for index, (row, entrant) in enumerate(zip(rows, entrants, strict=True)):
        progress(f"memory of {entrant.name} in {entrant.runtime}", index, len(entrants))
        memory = measure_memory(dataclasses.asdict(entrant))
        found.append(dataclasses.replace(row, memory=memory))
    return found


class _Counter:
    """Turns finished, as progress."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress, self._what, self._total, self._done = progress, what, total, 0
        progress(what, 0, total)

    def step(self) -> None:
        self._done += 1
        self._progress(self._what, self._done, max(self._total, self._done))

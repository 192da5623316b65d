"""Benchmark on the processor of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from edgesr.benchmarks import entrants as lineup
from edgesr.benchmarks import peak
from edgesr.benchmarks.entrants import Entrant, Runner
from edgesr.benchmarks.harness import Contender, Plan, measure
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.memory import measure_memory
from edgesr.benchmarks.results import BenchResult, Peak, Row

from edgesr.analysis import macs
from edgesr.manifest import Manifest

Progress = Callable[[str, int, int], None]
"""Called with what is going on, steps done, and steps in all."""


def _silent(_what: str, _done: int, _all: int) -> None:
    pass


def bench(
    entrants: Sequence[Entrant],
    plan: Plan | None = None,
    *,
    memory: bool = True,
    open_runner: Callable[[Entrant], Runner] = lineup.open_runner,
    progress: Progress = _silent,
) -> BenchResult:
    """Time all entrants and the GEMM ceilings they stand under in one interleaved run.

    Args:
        entrants: from `line_up`. Each gets a session of its own, so that its threads are its own.
        plan: how often; 30 runs when left out.
        memory: also run each entrant in a child process for its peak memory (seconds each).
        open_runner: opens an entrant.
        progress: told about every step.

    Raises:
        EdgesrError: an artifact cannot be opened or run.
    """
    plan = plan or Plan()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    rows, contenders = [], []
    for index, entrant in enumerate(entrants):
        progress(f"opening {entrant.name} in {entrant.runtime}", index, len(entrants))
        runner = open_runner(entrant)
        rows.append(_row(entrant, runner))
        contenders.append(_contender(entrant, runner))
    if memory:  # after all of them could be opened: mistakes are found before the slow part
        rows = _with_memory(rows, entrants, progress)
    under = sorted({(peak.arithmetic_of(row.precision), row.threads) for row in rows})
    ceilings = [(*kind, side) for kind in under for side in peak.SIDES]
    contenders += [peak.gemm(*ceiling) for ceiling in ceilings]
    turns = _Counter(progress, "timing", plan.rounds * len(contenders))
    meter = LoadMeter()
    samples = measure(contenders, plan, after_turn=turns.step)
    load = meter.stop()
    return BenchResult(
        rows=[
            dataclasses.replace(row, samples=taken)
            for row, taken in zip(rows, samples[: len(rows)], strict=True)
        ],
        peaks=[
            Peak(arithmetic, threads, side**3, taken)
            for (arithmetic, threads, side), taken in zip(
                ceilings, samples[len(rows) :], strict=True
            )
        ],
        plan=plan,
        machine=this_machine(),
        load=load,
        started=started,
    )


def _with_memory(rows: Sequence[Row], entrants: Sequence[Entrant], progress: Progress) -> list[Row]:
    found = []
    for index, (row, entrant) in enumerate(zip(rows, entrants, strict=True)):
        progress(f"memory of {entrant.name} in {entrant.runtime}", index, len(entrants))
        memory = measure_memory(dataclasses.asdict(entrant))
        found.append(dataclasses.replace(row, memory=memory))
    return found


def _contender(entrant: Entrant, runner: Runner) -> Contender:
    tensor = lineup.tensor_for(runner.manifest, *entrant.size_for(runner.manifest))
    label = f"{entrant.name} in {entrant.runtime}, {entrant.threads} threads"
    return Contender(label, lambda: runner.infer(tensor), _prepare(entrant))


def _prepare(entrant: Entrant) -> Callable[[], None]:
    """torch's number of threads is global; every other runtime's belongs to its session."""
    if entrant.runtime != "torch":
        return lambda: None
    import torch

    return lambda: torch.set_num_threads(entrant.threads)


def _row(entrant: Entrant, runner: Runner) -> Row:
    """What is known of the row before anything is measured."""
    manifest, info = runner.manifest, runner.info()
    height, width = entrant.size_for(manifest)
    return Row(
        artifact=entrant.name,
        runtime=entrant.runtime,
        runtime_version=info.version,
        delegate=info.delegate,
        notes=info.notes,
        threads=entrant.threads,
        height=height,
        width=width,
        scale=manifest.scale,
        precision=manifest.precision,
        samples=[],
        macs=_macs(entrant, manifest, height, width),
        sha256=manifest.sha256,
        manifest=dataclasses.asdict(manifest),
    )


def _macs(entrant: Entrant, manifest: Manifest, height: int, width: int) -> int | None:
    if manifest.macs is not None or entrant.is_artifact:
        return manifest.macs
    return macs(lineup.load_network(entrant.model), height, width)


class _Counter:
    """Turns finished, as progress."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress, self._what, self._total, self._done = progress, what, total, 0
        progress(what, 0, total)

    def step(self) -> None:
        self._done += 1
        self._progress(self._what, self._done, self._total)

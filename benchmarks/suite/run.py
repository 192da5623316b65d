"""Do what a suite asks for, in an order that keeps latencies honest, and resume what was stopped.

First files are written and judged, several at once: nothing is timed meanwhile. Then devices are
timed, one after the other where they share this machine, at once where they do not. The result is
written after every step, so that whatever ends a suite costs the step it was in.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import this_machine
from edgesr.benchmarks.results import BenchResult, Row
from edgesr.benchmarks.suite import jobs
from edgesr.benchmarks.suite.cells import CPU, Timing, digest, files_of, timings_of
from edgesr.benchmarks.suite.definition import Suite
from edgesr.benchmarks.suite.pool import Job, LocalPool, Pool
from edgesr.benchmarks.suite.result import (
    Failure,
    Quality,
    SuiteResult,
    read_suite,
    write_suite,
)
from edgesr.benchmarks.suite.table import write_csv
from edgesr.benchmarks.suite.timing import Located, batches, is_elsewhere, time_batch

from edgesr.errors import UsageError
from edgesr.manifest import read_manifest, write_atomically

RESULTS = "results.json"
Tell = Callable[[str, int, int], None]
Timed = tuple[list[BenchResult], list[Failure]]
Timer = Callable[[Sequence[Sequence[Located]], Plan], Iterable[Timed]]
"""Times batches on machines of its own; one outcome per batch, as they come."""


def _silent(_what: str, _done: int, _all: int) -> None:
    pass


def run_suite(
    suite: Suite,
    out: Path,
    *,
    pool: Pool | None = None,
    timer: Timer | None = None,
    progress: Tell = _silent,
) -> SuiteResult:
    """Export, judge and time what is missing in `out`.

    Args:
        suite: from `find_suite`.
        out: folder; gets `artifacts/`, `results.json` and `results.csv`.
        pool: where files are written and judged; None is this machine's cores.
        timer: times batches somewhere else; None is here, on the devices of this machine.
        progress: told about every step.

    Raises:
        UsageError: the folder holds another suite's results.
        BadFileError: its results cannot be read.
        EnvironmentLimitError: the folder cannot be written.
    """
    log = _Log(suite, out, progress)
    pool = pool or LocalPool()
    _export(suite, out, pool, log)
    _judge(suite, out, pool, log)
    _time(suite, out, log, timer)
    return log.result()


class _Log:
    """The result so far, and its file."""

    def __init__(self, suite: Suite, out: Path, progress: Tell) -> None:
        self._out, self.progress = out, progress
        self._lock = threading.Lock()
        path = out / RESULTS
        before = read_suite(path) if path.exists() else None
        if before is not None and before.name != suite.name:
            raise UsageError(
                f"{path} is of the suite `{before.name}`, not `{suite.name}`; give another --out"
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._result = SuiteResult(
            name=suite.name,
            started=before.started if before else now,
            runs=list(before.runs) if before else [],
            quality=list(before.quality) if before else [],
            failures=[],
            provenance={
                "suite": suite.text, "suite_sha256": digest([suite.text]),
                "edgesr": metadata.version("edgesr"), "last_started": now,
            },
        )  # fmt: skip

    def result(self) -> SuiteResult:
        """A copy."""
        return self._result

    def add(
        self,
        *,
        runs: Iterable[BenchResult] = (),
        quality: Iterable[Quality] = (),
        failures: Iterable[Failure] = (),
    ) -> None:
        """Keep these, and write everything."""
        with self._lock:
            self._result.runs.extend(runs)
            self._result.quality.extend(quality)
            self._result.failures.extend(failures)
            self.write()

    def keep(self, rows: set[str], quality: set[tuple[str, str]], anywhere: bool) -> None:
        """Leave out what the suite does not ask for any more."""
        runs = [
            dataclasses.replace(
                run, rows=[row for row in run.rows if key_of(run, row, anywhere) in rows]
            )
            for run in self._result.runs
        ]
        judged = [q for q in self._result.quality if (q.sha256, q.dataset) in quality]
        self._result = dataclasses.replace(
            self._result, runs=[run for run in runs if run.rows], quality=judged
        )
        self.write()

    def write(self) -> None:
        write_suite(self._result, self._out / RESULTS)
        write_csv(self._result, self._out / "results.csv")


def _export(suite: Suite, out: Path, pool: Pool, log: _Log) -> None:
    missing = {file.label: file for file in files_of(suite) if file.path(out) is None}
    work = [
        Job(
            label, jobs.export_file,
            {"model": jobs.Model.of(file.network), "target": file.target,
             "precision": file.precision, "shape": file.shape},
        )
        for label, file in missing.items()
    ]  # fmt: skip
    log.progress("exporting", 0, len(work))
    for done, outcome in enumerate(pool.run(work), 1):
        log.progress(f"exported {outcome.job.label}", done, len(work))
        if outcome.error is not None:
            log.add(failures=[Failure(outcome.job.label, "", str(outcome.error), outcome.attempts)])
            continue
        folder = missing[outcome.job.label].folder(out)
        # The artifact last: what lies beside it is complete when it is there.
        for name, content in sorted(outcome.value.items(), key=lambda item: len(item[0]))[::-1]:
            write_atomically(folder / name, content)


def _judge(suite: Suite, out: Path, pool: Pool, log: _Log) -> None:
    """One job per network, target and image set: its columns serve all precisions."""
    known = {(q.sha256, q.dataset) for q in log.result().quality}
    wanted: dict[tuple[str, str, str], dict[str, tuple[str, str]]] = {}
    for file in files_of(suite):
        path = file.path(out)
        if path is None:
            continue
        sha256 = read_manifest(path).sha256
        for data in suite.data:
            if (sha256, data) not in known:
                precisions = wanted.setdefault((file.network, file.target, data), {})
                precisions[file.precision] = path.name, sha256
    work = [
        Job(
            f"{network} {target} on {data}", jobs.judge,
            {"model": jobs.Model.of(network), "target": target, "data": data,
             "artifacts": artifacts},
        )
        for (network, target, data), artifacts in wanted.items()
    ]  # fmt: skip
    log.progress("judging", 0, len(work))
    for done, outcome in enumerate(pool.run(work), 1):
        log.progress(f"judged {outcome.job.label}", done, len(work))
        if outcome.error is None:
            log.add(quality=[Quality(**fields) for fields in outcome.value])
        else:
            log.add(failures=[Failure(outcome.job.label, "", str(outcome.error), outcome.attempts)])


def _time(suite: Suite, out: Path, log: _Log, timer: Timer | None) -> None:
    anywhere = timer is not None
    located = {
        timing_key(timing, path, suite, anywhere): Located.of(timing, path)
        for timing in timings_of(suite)
        if (path := timing.file.path(out)) is not None
    }
    judged = {
        (read_manifest(path).sha256, data)
        for file in files_of(suite)
        if (path := file.path(out)) is not None
        for data in suite.data
    }
    log.keep(set(located), judged, anywhere)
    there = {key_of(run, row, anywhere) for run, row in log.result().rows()}
    missing = batches([one for key, one in located.items() if key not in there])

    if timer is not None:
        for runs, failures in timer(missing, suite.plan):
            log.add(runs=runs, failures=failures)
        return

    def timed(group: Sequence[Sequence[Located]]) -> None:
        for batch in group:
            runs, failures = time_batch(batch, suite.plan, tell=log.progress)
            log.add(runs=runs, failures=failures)

    by_device: dict[str, list[list[Located]]] = {}
    for batch in missing:
        by_device.setdefault(batch[0].device, []).append(batch)
    apart = [group for device, group in by_device.items() if is_elsewhere(device)]
    for device, group in by_device.items():
        if not is_elsewhere(device):
            timed(group)
    if apart:
        with ThreadPoolExecutor(len(apart)) as threads:
            list(threads.map(timed, apart))


def timing_key(timing: Timing, path: Path, suite: Suite, anywhere: bool) -> str:
    """What a row must match to be the figure of this cell, now and on this machine (or on any)."""
    return _key(
        read_manifest(path).sha256, timing.device, timing.runtime, timing.threads,
        suite.plan, None if anywhere else this_machine(),
    )  # fmt: skip


def key_of(run: BenchResult, row: Row, anywhere: bool) -> str:
    """The same of a row that is there."""
    runtime = row.runtime if row.device == CPU else ""
    machine = None if anywhere else run.machine
    return _key(row.sha256, row.device, runtime, row.threads, run.plan, machine)


def _key(*facts: object) -> str:
    return digest([repr(fact) for fact in facts])

"""Time some artifacts on one device, and lose no more than those that fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.devices import open_device
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.entrants import Entrant
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.results import BenchResult
from edgesr.benchmarks.suite.cells import CPU, Timing
from edgesr.benchmarks.suite.pool import worth_retrying
from edgesr.benchmarks.suite.result import Failure

from edgesr.errors import EdgesrError

BATCH = 8
"""Artifacts timed in turns at once: each holds its memory until all have had their turns."""

ELSEWHERE = ("adb", "arm64", "ethos", "qnn", "snapdragon", "rknn")
"""Devices that time nothing on this machine: phones have processors of their own, emulators and
compilers give no latency. Only these run at the same time."""

RETURN = 5.0
"""Seconds before a device is tried again: a phone whose cable slipped is listed after a few."""

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Located:
    """An artifact to be timed somewhere, and the file."""

    label: str
    path: Path
    device: str
    threads: int
    runtime: str = ""

    @classmethod
    def of(cls, timing: Timing, path: Path) -> Located:
        """A suite's cell whose file has been written."""
        return cls(timing.label, path, timing.device, timing.threads, timing.runtime)


def is_elsewhere(device: str) -> bool:
    """Whether `device` may run beside others without disturbing a latency."""
    return device.startswith(ELSEWHERE)


def wait_for_return(device: str, error: EdgesrError) -> None:
    """Let a device that went away come back, before it is tried again."""
    if is_elsewhere(device) and isinstance(error, DeviceError):
        time.sleep(RETURN)


def batches(located: Sequence[Located]) -> list[list[Located]]:
    """What is timed in turns: cells of one device, and one number of threads unless it is cpu."""
    groups: dict[tuple[str, int], list[Located]] = {}
    for one in located:
        threads = 0 if one.device == CPU else one.threads
        groups.setdefault((one.device, threads), []).append(one)
    return [
        group[start : start + BATCH]
        for group in groups.values()
        for start in range(0, len(group), BATCH)
    ]


def time_batch(
    batch: Sequence[Located], plan: Plan, *, tell: Tell, attempts: int = 1
) -> tuple[list[BenchResult], list[Failure]]:
    """Time a batch in turns; what fails is tried once more, alone.

    Returns:
        One result per try that gave rows, and what failed for good.
    """
    results: list[BenchResult] = []
    failed: list[tuple[Located, EdgesrError]] = []
    timed = _on_cpu if batch[0].device == CPU else _on_device
    result = timed(batch, plan, lambda one, error: failed.append((one, error)), tell)
    if result is not None and result.rows:
        results.append(result)
    failures = []
    if failed and worth_retrying(failed[-1][1], attempts):
        wait_for_return(batch[0].device, failed[-1][1])
    for one, error in failed:
        if worth_retrying(error, attempts):
            again, left = time_batch([one], plan, tell=tell, attempts=attempts + 1)
            results += again
            failures += left
        else:
            failures.append(Failure(one.label, one.device, str(error), attempts))
    return results, failures


_Lose = Callable[[Located, EdgesrError], None]


def _on_cpu(batch: Sequence[Located], plan: Plan, lose: _Lose, tell: Tell) -> BenchResult | None:
    by_entrant = {Entrant(str(one.path), one.runtime, one.threads): one for one in batch}

    def lost(entrant: Entrant, error: EdgesrError) -> None:
        lose(by_entrant[entrant], error)

    try:
        return bench(list(by_entrant), plan, progress=tell, lost=lost)
    except EdgesrError as error:  # the ceilings' process died
        for one in batch:
            lose(one, error)
        return None


def _on_device(batch: Sequence[Located], plan: Plan, lose: _Lose, tell: Tell) -> BenchResult | None:
    """A failure ends the whole batch: who failed is found out by trying each alone."""
    first = batch[0]
    try:
        return bench_on(
            open_device(first.device), [one.path for one in batch], plan,
            threads=first.threads, processes=plan.processes or None, progress=tell,
        )  # fmt: skip
    except EdgesrError as error:
        for one in batch:
            lose(one, error)
        return None

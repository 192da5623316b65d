"""The same jobs on a Ray cluster: `edgesr bench --suite S --ray ADDRESS`.

Files are written and judged on every core of the cluster. Latencies are taken by one task per
batch and device, and one at a time on every machine, whoever sent it there: a file in the
machine's temporary folder is locked meanwhile. edgesr must be installed on the workers, in the
same version; files travel with the tasks. A task whose worker dies is sent once more.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgesr.benchmarks.harness import LostError, Plan
from edgesr.benchmarks.results import BenchResult
from edgesr.benchmarks.suite.pool import Job, Outcome, attempt, worth_retrying
from edgesr.benchmarks.suite.result import Failure
from edgesr.benchmarks.suite.timing import Located, time_batch

from edgesr.errors import EnvironmentLimitError

LOCK = "edgesr-timing.lock"


class RayPool:
    """Workers of a Ray cluster, as `pool.Pool`.

    Args:
        address: HOST:PORT of the head, `auto` for the cluster of this machine, or `local` for one
            that is started here and ends with the process.

    Raises:
        EnvironmentLimitError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise EnvironmentLimitError("--ray needs Ray: pip install 'edgesr[ray]'") from None
        self._ray: Any = ray
        if not ray.is_initialized():
            try:
                ray.init(
                    address=None if address == "local" else address, log_to_driver=False,
                    include_dashboard=False if address == "local" else None,
                    logging_level="error",
                )  # fmt: skip
            except Exception as error:  # of every kind, bare ones too
                reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
                raise EnvironmentLimitError(
                    f"no Ray cluster at {address}: {reason}; `ray start --head` starts one"
                ) from error
        self._task = ray.remote(num_cpus=1, max_retries=0)(attempt)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See `Pool.run`."""
        running = {self._send(job): (job, 1) for job in jobs}
        while running:
            (ready, *_), _ = self._ray.wait(list(running), num_returns=1)
            job, tries = running.pop(ready)
            try:
                value, error = self._ray.get(ready)
            except self._ray.exceptions.RayError as lost:
                first = str(lost).strip().splitlines()[0]
                value, error = None, LostError(f"the worker for {job.label} died: {first}")
            if error is not None and worth_retrying(error, tries):
                running[self._send(job)] = job, tries + 1
            else:
                yield Outcome(job, value, error, tries)

    def time(
        self, batches: Sequence[Sequence[Located]], plan: Plan
    ) -> Iterator[tuple[list[BenchResult], list[Failure]]]:
        """Time every batch on some machine of the cluster."""
        cells = {str(number): batch for number, batch in enumerate(batches)}
        jobs = [
            Job(number, time_here, {"batch": [_packed(one) for one in batch], "plan": plan})
            for number, batch in cells.items()
        ]
        for outcome in self.run(jobs):
            if outcome.error is None:
                yield outcome.value
            else:
                yield (
                    [],
                    [
                        Failure(one.label, one.device, str(outcome.error), outcome.attempts)
                        for one in cells[outcome.job.label]
                    ],
                )

    def _send(self, job: Job) -> Any:
        return self._task.options(name=job.label).remote(job.call, dict(job.arguments))


Packed = tuple[Located, dict[str, bytes]]
"""A cell and the files it needs, by name."""


def _packed(one: Located) -> Packed:
    folder = one.path.parent
    return one, {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def time_here(batch: Sequence[Packed], plan: Plan) -> tuple[list[BenchResult], list[Failure]]:
    """On the worker: unpack, wait for the machine, time."""
    with tempfile.TemporaryDirectory(prefix="edgesr-suite-") as scratch, alone_on_this_machine():
        there = []
        for number, (one, files) in enumerate(batch):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
            there.append(replace(one, path=folder / one.path.name))
        return time_batch(there, plan, tell=lambda *_: None)


@contextlib.contextmanager
def alone_on_this_machine() -> Iterator[None]:
    """No other edgesr task times anything here until the block ends. Windows has no such lock."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (Path(tempfile.gettempdir()) / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

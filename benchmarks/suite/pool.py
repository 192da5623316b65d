"""Jobs on worker processes: each in a process of its own, so that one that dies loses one job.

`LocalPool` forks from a server that has everything imported and nothing running; `ray_pool` sends
the same jobs to a cluster. Nothing that is timed on this machine goes through a pool.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from edgesr.benchmarks.harness import LostError
from edgesr.benchmarks.machine import usable_cores

from edgesr.errors import (
    BadFileError,
    EdgesrError,
    InexactError,
    ParityError,
    UnsupportedError,
    UsageError,
)

ATTEMPTS = 2
_SETTLED = (BadFileError, InexactError, ParityError, UnsupportedError, UsageError)
"""The same arguments would raise these again."""


@dataclass(frozen=True)
class Job:
    """A module-level function and its arguments, all of which can be pickled."""

    label: str
    call: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a value, or why there is none."""

    job: Job
    value: Any = None
    error: EdgesrError | None = None
    attempts: int = 1


class Pool(Protocol):
    """Runs jobs somewhere, several at once."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes in the order they come; a job that was lost has been tried twice."""


def worth_retrying(error: EdgesrError, attempts: int) -> bool:
    """Whether another attempt may end otherwise."""
    return attempts < ATTEMPTS and not isinstance(error, _SETTLED)


class LocalPool:
    """Processes on this machine.

    Args:
        workers: at once; None is one per core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or usable_cores()
        server = "forkserver" in get_all_start_methods()
        self._context: Any = get_context("forkserver" if server else "spawn")
        if server:
            self._context.set_forkserver_preload(["edgesr.benchmarks.suite.fork_server"])

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See `Pool.run`."""
        waiting = [(job, 1) for job in jobs]
        running: dict[Connection, tuple[Any, Job, int]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._workers:
                    job, attempt = waiting.pop(0)
                    receiver, process = self._start(job)
                    running[receiver] = process, job, attempt
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    process, job, attempt = running.pop(ready)
                    outcome = _result(ready, process, job, attempt)
                    if outcome.error is not None and worth_retrying(outcome.error, attempt):
                        waiting.append((job, attempt + 1))
                    else:
                        yield outcome
        finally:
            for process, _, _ in running.values():
                process.kill()

    def _start(self, job: Job) -> tuple[Connection, Any]:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(sender, job.call, dict(job.arguments)), daemon=True
        )
        process.start()
        sender.close()  # so that the end of the child is the end of the pipe
        return receiver, process


def _result(receiver: Connection, process: Any, job: Job, attempt: int) -> Outcome:
    try:
        value, error = receiver.recv()
    except EOFError:
        process.join()
        value, error = None, LostError(
            f"the worker for {job.label} died with code {process.exitcode}: it was killed, or ran "
            "out of memory"
        )  # fmt: skip
    receiver.close()
    process.join()
    return Outcome(job, value, error, attempt)


def _work(sender: Connection, call: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """In the child."""
    threading.Thread(target=_end_with_suite, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    sender.send(attempt(call, arguments))
    sender.close()


def _end_with_suite() -> None:
    """A suite that is killed kills nobody, and its workers are children of the server."""
    suite = parent_process()
    assert suite is not None
    wait([suite.sentinel])
    os._exit(1)


def attempt(call: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any, Any]:
    """Value and error of a call; whatever it raises becomes an `EdgesrError`."""
    try:
        return call(**arguments), None
    except EdgesrError as error:
        return None, error
    except Exception as error:
        # A suite of a hundred cells must not end with one that nobody foresaw.
        return None, EdgesrError(f"unexpected {type(error).__name__}: {error}")

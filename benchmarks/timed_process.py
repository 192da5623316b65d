"""Contenders in processes of their own: cold starts are cold, and one that dies takes no other.

The children stay alive for a whole round of turns, so that they are as interleaved as contenders
in one process, and wait in a pipe while it is somebody else's turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

from edgesr.benchmarks.entrants import Entrant
from edgesr.benchmarks.harness import Clock, LostError
from edgesr.benchmarks.memory import MODULES

from edgesr import errors

TIMEOUT = 300.0
"""Seconds a child may take to open, or for one turn."""
_PATIENCE = 0.5
"""Seconds it may take to end; in the middle of a turn it does not listen."""


class TimedProcess:
    """A child that opens what `job` names and waits.

    Args:
        label: what it is, for errors.
        job: `entrant` (fields of an `Entrant`) or `ceilings` (arguments of `peak.ceiling`).
        timeout: seconds it may take to open, and for a turn.

    Raises:
        EdgesrError: what opening raised there.
        LostError: it died, hung, or was killed.
    """

    def __init__(self, label: str, job: dict[str, Any], *, timeout: float = TIMEOUT) -> None:
        self.label = label
        self._timeout = timeout
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        command = [sys.executable, "-m", "edgesr.benchmarks.timed_child"]
        job = {**job, "parent": os.getpid(), "asked": time.perf_counter_ns()}
        self._child = subprocess.Popen(
            [*command, json.dumps(job)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        try:
            self.ready = self._answer()
            self._opened = self._cpu = float(self.ready.get("cpu", 0.0))
            if "error" in self.ready:
                raise getattr(errors, self.ready["kind"], errors.EdgesrError)(self.ready["error"])
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    @property
    def cpu_seconds(self) -> float:
        """Processor time it took since it was open, up to the last turn."""
        return self._cpu - self._opened

    def take(self, which: int, untimed: int, timed: int) -> list[float]:
        """A turn of the contender number `which`; milliseconds.

        Raises:
            LostError: the child is gone.
        """
        try:
            assert self._child.stdin is not None
            self._child.stdin.write(json.dumps([which, untimed, timed]) + "\n")
            self._child.stdin.flush()
        except OSError:
            raise self._lost() from None
        answer = self._answer()
        self._cpu = float(answer["cpu"])
        return [float(sample) for sample in answer["samples"]]

    def close(self) -> None:
        """End it."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # it died before it read everything
                    pipe.close()
        try:
            self._child.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        late = threading.Timer(self._timeout, self._child.kill)
        late.start()
        try:
            line = self._child.stdout.readline()
        finally:
            late.cancel()
        try:
            answer: dict[str, Any] = json.loads(line)
            return answer
        except ValueError:
            raise self._lost() from None

    def _lost(self) -> LostError:
        code = self._child.wait()
        self._errors.seek(0)
        said = [line for line in self._errors.read().splitlines() if line.strip()]
        reason = f"signal {-code}" if code < 0 else f"code {code}"
        last = f": {said[-1].strip()[:300]}" if said else ""
        return LostError(
            f"the process of {self.label} ended with {reason}{last}; it may have been killed, run "
            f"out of memory, or taken more than {self._timeout:.0f} s"
        )


@dataclass(frozen=True)
class Seat:
    """One contender of a child, as `harness.Timed`."""

    process: TimedProcess
    which: int = 0

    @property
    def label(self) -> str:
        """See `Timed`."""
        return self.process.label

    def take(self, untimed: int, timed: int, clock: Clock) -> list[float]:
        """See `Timed.take`. The child has a clock of its own."""
        return self.process.take(self.which, untimed, timed)


def open_process(entrant: Entrant, *, timeout: float = TIMEOUT) -> TimedProcess:
    """A child with this entrant; its `ready["row"]` are the fields of the row.

    Raises:
        EdgesrError: it cannot be opened.
        LostError: the child died on it.
    """
    module = MODULES.get(entrant.runtime, entrant.runtime)
    job = {"entrant": dataclasses.asdict(entrant), "module": module}
    return TimedProcess(f"{entrant.name} in {entrant.runtime}", job, timeout=timeout)

"""Devices whose runtime works in a process of its own.

Either its packages contradict ours, or it reads environment variables when it is loaded. The child
is a script beside this file that knows nothing of edgesr: it reads a job (JSON), writes the output
as `output.npy` and prints one line of JSON, the last.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices.device import DeviceError, Payload, Run, Work, check_file

from edgesr.runtime.pixels import Array

TIMEOUT = 600.0
"""Seconds; emulators of NPUs take minutes for a whole frame."""


class ChildDevice(ABC):
    """Everything but what the child is told and what its answer means."""

    name: str
    suffixes: tuple[str, ...]
    dtypes = ""
    """Element types the device takes, comma-separated; empty for any."""
    processes = 1
    script: str
    """File in this folder."""

    _payload: Payload
    _output: Array | None = None

    @abstractmethod
    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""

    @abstractmethod
    def describe(self, answer: Mapping[str, Any], log: str) -> Run:
        """What the child's answer, and what it wrote to standard error, mean."""

    def python(self) -> Path:
        """The interpreter the child runs in."""
        return Path(sys.executable)

    def environment(self) -> dict[str, str]:
        """Variables the child needs on top of ours."""
        return {}

    def job(self, payload: Payload, scratch: Path) -> dict[str, Any]:
        """What the child is told besides where model, input and output are."""
        return {}

    def push(self, payload: Payload) -> None:
        """See `Device.push`."""
        check_file(self.name, payload, self.suffixes, self.dtypes)
        self._payload, self._output = payload, None

    def run(self, work: Work) -> Run:
        """See `Device.run`."""
        with tempfile.TemporaryDirectory(prefix="edgesr-device-") as folder:
            scratch = Path(folder)
            np.save(scratch / "input.npy", self._payload.golden)
            job = {
                "model": str(self._payload.artifact.resolve()), "input": str(scratch / "input.npy"),
                "output": str(scratch / "output.npy"), "runs": work.runs,
                "warm_up": work.warm_up, "threads": work.threads, "scratch": str(scratch),
                **self.job(self._payload, scratch),
            }  # fmt: skip
            answer, log = call(self.name, self.python(), self.script, job, self.environment())
            if (scratch / "output.npy").exists():
                self._output = np.load(scratch / "output.npy", allow_pickle=False)
            return self.describe(answer, log)

    def pull(self) -> Array | None:
        """See `Device.pull`."""
        return self._output

    def snapshot(self) -> dict[str, Any]:
        """See `Device.snapshot`."""
        return {}

    def close(self) -> None:
        """See `Device.close`."""
        self._output = None


def call(
    device: str,
    python: Path,
    script: str,
    job: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    *,
    timeout: float = TIMEOUT,
) -> tuple[dict[str, Any], str]:
    """Run a script of this folder.

    Returns:
        The JSON object on the last line of its output, and what it wrote to standard error.

    Raises:
        DeviceError: it failed, was killed, took too long, or answered something else.
    """
    # -P: this folder has a `rknn.py` too, and the child means the package.
    command = [str(python), "-P", str(Path(__file__).parent / script), json.dumps(job)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False,
            errors="replace", env={**os.environ, **(environment or {})},
            cwd=job.get("scratch"),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{device} did not finish within {timeout:.0f} s") from None
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    try:
        answer = json.loads(lines[-1])
        if done.returncode or not isinstance(answer, dict):
            raise ValueError
    except (IndexError, ValueError):
        raise DeviceError(f"{device} failed: {last_words(done.stderr, done.returncode)}") from None
    return answer, done.stderr


def last_words(text: str, code: int) -> str:
    """The line that says most about why a process died."""
    if code < 0:
        return f"it was killed by signal {-code}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line or "FAIL" in line]
    return (errors or lines or [f"exit code {code}, and no word why"])[-1][:300]

"""Devices whose runtime works in a process of its own.

Either its packages contradict ours, or it reads environment variables when it is loaded. The child
is a script beside this file that knows nothing of edgesr and writes the output as `output.npy`;
`edgesr.export.compile.child` runs it.
"""

from __future__ import annotations

import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices.device import Payload, Run, Work, check_file
from edgesr.export.compile.child import call

from edgesr.runtime.pixels import Array


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
            script = Path(__file__).with_name(self.script)
            answer, log = call(self.name, self.python(), script, job, self.environment())
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

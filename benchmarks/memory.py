"""Peak memory of a model, measured in a process of its own.

Inside one process the peak belongs to whoever came first and no allocator gives everything back.
So a child opens the model, runs it, and reports how far its resident set rose above what the
imported runtime already took.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from edgesr.errors import EnvironmentLimitError
from edgesr.lifeline import end_with_parent

_STATUS = Path("/proc/self/status")
MODULES = {
    "ort": "onnxruntime",
    "litert": "ai_edge_litert.interpreter", "litert-reference": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}  # fmt: skip
"""Module that makes a runtime usable, where it has another name."""
_CALLS = 2
"""Some runtimes allocate in the second call what they planned in the first."""


@dataclass(frozen=True)
class Memory:
    """Resident set of the child process, in MB (10^6 bytes)."""

    before_mb: float
    """With the runtime imported, before the model was opened."""
    peak_mb: float
    """The most it ever was while the model was opened and run."""

    @property
    def increase_mb(self) -> float:
        """What the model costs: weights, plans and activations."""
        return self.peak_mb - self.before_mb


def measure_memory(entrant: dict[str, object], timeout: float = 300) -> Memory:
    """Open and run a model in a child process.

    Args:
        entrant: fields of an `Entrant`.
        timeout: seconds the child may take.

    Raises:
        EnvironmentLimitError: the child failed, was killed or took too long.
    """
    job = [json.dumps(entrant), str(os.getpid())]
    command = [sys.executable, "-m", "edgesr.benchmarks.memory", *job]
    who = f"{entrant['model']} in {entrant['runtime']}"
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentLimitError(
            f"measuring the memory of {who} took more than {timeout:.0f} s; --no-memory skips it"
        ) from error
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentLimitError(
            f"measuring the memory of {who} failed with code {child.returncode} ({last}); "
            "--no-memory skips it"
        )
    return Memory(**json.loads(child.stdout.splitlines()[-1]))


def resident_mb(field: str) -> float:
    """`VmHWM` (peak) or `VmRSS` (now) of this process.

    `getrusage` is no use on Linux: after a fork it reports the parent's peak.
    """
    if _STATUS.exists():
        line = next(ln for ln in _STATUS.read_text().splitlines() if ln.startswith(field))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # macOS, in bytes; Windows has neither

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def reset_peak() -> None:
    """Forget the peak so far."""
    # Where this is not possible the peak includes the imports: an upper bound.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _child(text: str) -> Memory:
    from edgesr.benchmarks.entrants import Entrant, open_runner, tensor_for

    entrant = Entrant(**json.loads(text))
    with contextlib.suppress(ImportError):  # opening it will say what is missing
        importlib.import_module(MODULES.get(entrant.runtime, entrant.runtime))
    reset_peak()
    before = resident_mb("VmRSS")
    runner = open_runner(entrant)
    tensor = tensor_for(runner.manifest, *entrant.size_for(runner.manifest))
    for _ in range(_CALLS):
        runner.infer(tensor)
    return Memory(before, resident_mb("VmHWM"))


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    sys.stdout.write(json.dumps(asdict(_child(sys.argv[1]))) + "\n")

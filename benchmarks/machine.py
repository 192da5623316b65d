"""Which machine a figure comes from, and whether it was busy with something else."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from edgesr.processor import cpuinfo, flags

PACKAGES = (
    "edgesr", "torch", "numpy", "ai-edge-litert", "tflite-runtime", "tensorflow", "tensorflow-cpu",
    "onnxruntime", "openvino", "ncnn",
)  # fmt: skip
"""Packages whose version can change a latency."""

_INSTRUCTIONS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "sve", "sve2", "sme",
)  # fmt: skip
"""Instruction sets that decide the speed of int8 and fp32 kernels (names of /proc/cpuinfo)."""


@dataclass(frozen=True)
class Machine:
    """Facts that make two latencies comparable. Holds no host name and no user name."""

    cpu: str
    cores: int
    """Logical cores this process may use."""
    instructions: tuple[str, ...]
    memory_gb: float | None
    system: str
    python: str
    packages: dict[str, str]


def this_machine() -> Machine:
    """Describe the machine we run on."""
    facts, known = cpuinfo(), flags()
    name = facts.get("model name") or facts.get("Hardware") or platform.processor()
    family = facts.get("cpu family")
    if family:  # cloud hosts hide the product name; family and model still tell the generation
        name = f"{name} (family {family}, model {facts.get('model')})"
    return Machine(
        cpu=name or platform.machine(),
        cores=usable_cores(),
        instructions=tuple(flag for flag in _INSTRUCTIONS if flag in known),
        memory_gb=_memory_gb(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=installed(PACKAGES),
    )


def usable_cores() -> int:
    """Logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Version of each package that is installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True)
class Load:
    """How busy the machine was during a run."""

    before: float | None
    """Load average over the last minute when the run began: processes that wanted a core."""
    after: float | None
    """The same at the end; includes the run itself."""
    others: float | None
    """Cores that other processes kept busy during the run, on average. None where unknown."""


class LoadMeter:
    """Watches the load from its construction to `stop()`."""

    def __init__(self) -> None:
        self._before = _load_average()
        self._start = time.perf_counter()
        self._busy = _busy_seconds()
        self._own = time.process_time()

    def stop(self, children: float = 0.0) -> Load:
        """What happened since.

        Args:
            children: seconds of processor time that own child processes took meanwhile; whatever
                is left out here counts as somebody else's.
        """
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        busy, own = _busy_seconds(), time.process_time() - self._own + children
        others = None
        if busy is not None and self._busy is not None:
            others = max(0.0, (busy - self._busy - own) / elapsed)
        return Load(self._before, _load_average(), others)


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def _busy_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """Seconds all cores together have worked since boot, interrupts and stolen time included."""
    try:
        fields = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    if len(fields) < 8:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _memory_gb() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(size / 2**30, 1)

"""The clock of the search: random weights, exported in int8, timed where they shall run.

Latency does not depend on weights, so nothing is trained: a member is written as `edgesr export`
would write it, checked like any file, and takes its turns in `edgesr bench`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.devices import open_device
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.entrants import line_up
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.results import BenchResult, Row
from edgesr.data.datasets import calibration_samples
from edgesr.design.family import Member
from edgesr.errors import UsageError
from edgesr.export.pipeline import export
from edgesr.models.intake import RANDOM, load
from edgesr.targets import Target, find_target, target_names

CPU = "cpu"
TARGETS = {"litert": "tflite", "ort": "onnx", "openvino": "openvino"}
"""Runtimes of this machine that have time of their own for int8, and what they run."""

Tell = Callable[[str, int, int], None]


@dataclass
class OnDevice:
    """`Measure` for a device; medians where it is timed, the compiler's estimate where not.

    Args:
        scale: 2, 3 or 4.
        shape: height and width of the low-resolution input.
        work: folder for the files.
        device: `cpu` or any of `edgesr devices`.
        runtime: of this machine's processor.
        threads: of the runtime.
        runs: timed calls per file (and process, on devices that use several).
        tell: told what is going on.
    """

    scale: int
    shape: tuple[int, int]
    work: Path
    device: str = CPU
    runtime: str = "litert"
    threads: int = 1
    runs: int = 30
    tell: Tell = lambda what, done, total: None
    warnings: list[str] = field(default_factory=list, init=False)
    """What to know before trusting the figures."""
    how: str = field(default="", init=False)
    """Of the last figures: measured or an estimate, by which runtime."""

    def __post_init__(self) -> None:
        self.target = _target(self.device, self.runtime)

    def require(self) -> None:
        """Ask the device whether it is here, before minutes of exports.

        Raises:
            DeviceError: it is not; the message holds the command that would get it.
        """
        if self.device == CPU:
            return
        device = open_device(self.device)
        try:
            device.probe()
        finally:
            device.close()

    def __call__(self, members: Sequence[Member]) -> list[float]:
        """Milliseconds of each.

        Raises:
            UsageError: the device gives no time.
            EdgesrError: as `export` and `edgesr bench`.
        """
        files = []
        for number, member in enumerate(members):
            self.tell(f"writing {member.name(self.scale)}", number, len(members))
            files.append(self._written(member))
        result = self._timed(files)
        self.warnings = list(dict.fromkeys([*self.warnings, *result.warnings()]))
        return [self._milliseconds(row) for row in result.rows]

    def _written(self, member: Member) -> Path:
        # Scales do not matter either; one crop gives some.
        crop = next(iter(calibration_samples()))[:64, :64]
        return export(
            load(f"{RANDOM}{member.name(self.scale)}"), target=self.target.name,
            precision="int8", shape=self.shape, out=self.work, calibration=[crop], force=True,
        ).path  # fmt: skip

    def _timed(self, files: Sequence[Path]) -> BenchResult:
        names, plan = [str(file) for file in files], Plan(runs=self.runs)
        if self.device != CPU:
            device = open_device(self.device)
            return bench_on(device, names, plan, threads=self.threads, progress=self.tell)
        entrants = line_up(names, runtimes=[self.runtime], threads=[self.threads])
        return bench(entrants, plan, memory=False, ceilings=False, progress=self.tell)

    def _milliseconds(self, row: Row) -> float:
        ms = row.summary.median if row.samples else row.estimate.get("ms")
        if ms is None:
            raise UsageError(
                f"{self.device} tells no time, its figures are {row.label}; choose cpu, adb, web "
                "or an ethos-u (`edgesr devices` lists what is here)"
            )
        kind = "estimated" if row.label == "estimate" else row.label
        self.how = f"{kind} by {row.runtime} {row.runtime_version}"
        return float(ms)


def _target(device: str, runtime: str) -> Target:
    """What is written for a device.

    Raises:
        UsageError: no such device or runtime.
    """
    if device == CPU:
        if runtime not in TARGETS:
            raise UsageError(f"--runtime is one of {', '.join(TARGETS)}, not `{runtime}`")
        return find_target(TARGETS[runtime])
    if runtime != "litert":
        raise UsageError(f"--runtime is for cpu; {device} has its own")
    suffixes = open_device(device).suffixes
    if device in target_names():
        return find_target(device)
    found = (find_target(name) for name in TARGETS.values())
    for target in found:
        if target.suffix in suffixes:
            return target
    raise UsageError(f"{device} takes {' or '.join(suffixes)} files, which are not written here")

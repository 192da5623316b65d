"""Benchmark artifacts on a device: the same result as on the processor of this machine.

Artifacts take turns: every round starts each of them in a fresh process on the device, in a new
random order, so that a phone that warms up slows all of them. Every artifact also runs the golden
tile, and what comes back is held against the proved output.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices import parity
from edgesr.benchmarks.devices.device import Device, Parity, Payload, Run, Work
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.results import BenchResult, Row

from edgesr.errors import BadFileError, UnsupportedError
from edgesr.scales import factors

Progress = Callable[[str, int, int], None]
"""Called with what is going on, steps done, and steps in all."""


def _silent(_what: str, _done: int, _all: int) -> None:
    pass


@dataclasses.dataclass
class Entry:
    """One artifact and what is known of it so far."""

    payload: Payload
    runs: list[Run] = dataclasses.field(default_factory=list)
    snapshots: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    parity: Parity | None = None


def bench_on(
    device: Device,
    artifacts: Sequence[Path | str],
    plan: Plan | None = None,
    *,
    threads: int = 1,
    processes: int | None = None,
    require_full: bool = False,
    progress: Progress = _silent,
) -> BenchResult:
    """Run artifacts on a device, check what they compute there, and close it.

    Args:
        device: from `open_device`.
        artifacts: exported files.
        plan: timed and untimed calls per process; the seed orders the turns.
        threads: where the device has a choice.
        processes: fresh processes per artifact; None takes the device's own number.
        require_full: fail when an operator is left to a CPU, or may be.
        progress: told about every step.

    Raises:
        BadFileError: an artifact is not one, or the device does not take it.
        DeviceError: the device is not here, or failed.
        UnsupportedError: `require_full`, and operators were left to a CPU.
    """
    plan = plan or Plan()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    entries = [Entry(parity.payload_for(Path(artifact))) for artifact in artifacts]
    work = Work(plan.runs, plan.warm_up, threads)
    meter = LoadMeter()
    try:
        facts = device.probe()
        rounds, shuffle = processes or device.processes, random.Random(plan.seed).shuffle
        for number in range(rounds):
            turns = list(entries)
            shuffle(turns)
            for index, entry in enumerate(turns, number * len(turns)):
                what = f"{entry.payload.artifact.name} on {device.name}"
                progress(what, index, rounds * len(turns))
                _turn(device, entry, work)
    finally:
        device.close()
    if require_full:
        for entry in entries:
            _check_residency(device.name, entry)
    return BenchResult(
        rows=[row_of(device.name, entry, facts, threads) for entry in entries],
        peaks=[],
        plan=plan,
        machine=this_machine(),
        load=meter.stop(),
        started=started,
    )


def _turn(device: Device, entry: Entry, work: Work) -> None:
    before = device.snapshot()
    device.push(entry.payload)
    entry.runs.append(device.run(work))
    after = device.snapshot()
    if before or after:
        entry.snapshots.append({"before": before, "after": after})
    if entry.parity is None:
        output = device.pull()
        if output is not None:
            entry.parity = parity.golden_for(entry.payload).compare(output)


def _check_residency(device: str, entry: Entry) -> None:
    placement = entry.runs[-1].placement
    if placement.full:
        return
    name = entry.payload.artifact.name
    if placement.full is None:
        raise UnsupportedError(
            f"{device} does not tell where the operators of {name} ran; leave --require-full out"
        )
    left = ", ".join(dict.fromkeys(placement.on_cpu or ())) or "some operators"
    raise UnsupportedError(
        f"{device} leaves {left} of {name} to the CPU; --require-full forbids it"
    )


def row_of(device: str, entry: Entry, facts: Mapping[str, Any], threads: int) -> Row:
    """What was found out about one artifact on `device`, whose facts are `facts`."""
    manifest, last = entry.payload.manifest, entry.runs[-1]
    height, width = _size(entry.payload)
    notes = [note for run in entry.runs for note in run.notes]
    notes += _disturbances(device, entry.snapshots)
    if entry.parity is None and last.label != "estimate":
        notes.append(f"{manifest.artifact} on {device}: no output came back, so nothing is proved")
    return Row(
        artifact=manifest.artifact,
        runtime=last.runtime,
        runtime_version=last.version,
        delegate=last.delegate,
        threads=threads,
        height=height,
        width=width,
        scale=math.sqrt(math.prod(factors(manifest.scale))),
        precision=manifest.precision,
        samples=[sample for run in entry.runs for sample in run.samples],
        macs=manifest.macs,
        sha256=manifest.sha256,
        notes=tuple(dict.fromkeys(notes)),
        manifest=dataclasses.asdict(manifest),
        device=device,
        label=last.label,
        estimate=dict(last.estimate),
        placement=last.placement,
        parity=entry.parity,
        facts={**facts, **last.facts, "snapshots": entry.snapshots},
    )


def _size(payload: Payload) -> tuple[int, int]:
    shape = payload.golden.shape
    if len(shape) != 4:
        raise BadFileError(f"{payload.artifact.name} takes tensors of {len(shape)} axes, not 4")
    height, width = shape[1:3] if payload.manifest.layout == "NHWC" else shape[2:4]
    return int(height), int(width)


def _disturbances(device: str, snapshots: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences about flags that a device raised before or after a run."""
    said = []
    for flag, sentence in (
        ("throttled", "was too hot and slowed down; let it cool and run again"),
        ("charging", "was charging, which heats it; unplug it for figures to quote"),
    ):
        if any(moment.get(flag) for pair in snapshots for moment in pair.values()):
            said.append(f"{device} {sentence}")
    return said

"""Open an entrant: the row it will fill, what to time, and how long each step to there took."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from edgesr.benchmarks import entrants as lineup
from edgesr.benchmarks.devices.parity import recorded_parity
from edgesr.benchmarks.entrants import Entrant, Runner
from edgesr.benchmarks.harness import Contender
from edgesr.benchmarks.memory import Memory, reset_peak, resident_mb
from edgesr.benchmarks.results import Row
from edgesr.benchmarks.traffic import bytes_moved

from edgesr.analysis import macs
from edgesr.errors import EdgesrError
from edgesr.manifest import Manifest
from edgesr.runtime.pixels import to_image, to_tensor

_REPEATS = 3
"""Times the way from an image to a tensor, and back, is measured; the median counts."""


def open_entrant(
    entrant: Entrant,
    open_runner: Callable[[Entrant], Runner] = lineup.open_runner,
    *,
    watch_memory: bool = False,
) -> tuple[Row, Contender]:
    """Load the model, call it, and take the times that steady state does not have.

    Args:
        entrant: from `line_up`.
        open_runner: opens it.
        watch_memory: note how far resident memory rises; only right in a process of its own.

    Raises:
        EdgesrError: it cannot be opened or run.
    """
    phases: dict[str, float] = {}
    reset_peak()
    before = resident_mb("VmRSS") if watch_memory else 0.0
    with _timed(phases, "load"):
        runner = open_runner(entrant)
    manifest = runner.manifest
    tensor = lineup.tensor_for(manifest, *entrant.size_for(manifest))
    with _timed(phases, "first"):
        output = runner.infer(tensor)
    memory = None
    if watch_memory:
        runner.infer(tensor)  # some runtimes allocate in the second call what they planned before
        memory = Memory(before, resident_mb("VmHWM"))
    pixels = np.zeros((*entrant.size_for(manifest), 1 if manifest.colour == "y" else 3), np.uint8)
    phases["preprocess"] = _median_ms(lambda: to_tensor(pixels, manifest))
    phases["postprocess"] = _median_ms(lambda: to_image(output, manifest))
    row = dataclasses.replace(_row(entrant, runner), phases=phases, memory=memory)
    row = _proved(row, entrant, runner)
    label = f"{entrant.name} in {entrant.runtime}, {entrant.threads} threads"
    return row, Contender(label, lambda: runner.infer(tensor), _prepare(entrant))


def _proved(row: Row, entrant: Entrant, runner: Runner) -> Row:
    """The row with what became of the golden tile; an artifact without one is marked."""
    parity = recorded_parity(runner.infer, runner.manifest)
    if parity is not None or not entrant.is_artifact:
        return dataclasses.replace(row, parity=parity)
    note = f"{entrant.name}: its manifest records no output, so nothing is proved; export it again"
    return dataclasses.replace(row, notes=(*row.notes, note))


@contextlib.contextmanager
def _timed(phases: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    phases[name] = (time.perf_counter() - start) * 1e3


def _median_ms(call: Callable[[], object]) -> float:
    elapsed: dict[str, float] = {}
    for number in range(_REPEATS):
        with _timed(elapsed, str(number)):
            call()
    return median(elapsed.values())


def _prepare(entrant: Entrant) -> Callable[[], None]:
    """torch's number of threads is global; every other runtime's belongs to its session."""
    if entrant.runtime != "torch":
        return lambda: None
    import torch

    return lambda: torch.set_num_threads(entrant.threads)


def _row(entrant: Entrant, runner: Runner) -> Row:
    """What is known of the row before anything is measured."""
    manifest, info = runner.manifest, runner.info()
    height, width = entrant.size_for(manifest)
    return Row(
        artifact=entrant.name,
        runtime=entrant.runtime,
        runtime_version=info.version,
        delegate=info.delegate,
        notes=info.notes,
        threads=entrant.threads,
        height=height,
        width=width,
        scale=_one_scale(manifest.scale),
        precision=manifest.precision,
        samples=[],
        macs=_macs(entrant, manifest, height, width),
        sha256=manifest.sha256,
        manifest=dataclasses.asdict(manifest),
        bytes_moved=_bytes(entrant, manifest, height, width),
    )


def _one_scale(scale: float | tuple[float, float]) -> float:
    """The scale whose square is the ratio of output to input pixels."""
    return scale if isinstance(scale, (int, float)) else math.sqrt(scale[0] * scale[1])


def _macs(entrant: Entrant, manifest: Manifest, height: int, width: int) -> int | None:
    if manifest.macs is not None:
        return manifest.macs
    if entrant.is_artifact:
        return None
    return macs(lineup.load_network(entrant.model), height, width)


def _bytes(entrant: Entrant, manifest: Manifest, height: int, width: int) -> int | None:
    """Nothing where the file cannot be read: a latency does not depend on this estimate."""
    if not entrant.is_artifact:
        return None
    with contextlib.suppress(EdgesrError):
        return bytes_moved(Path(entrant.model), manifest.precision, height, width)
    return None

"""What a suite comes down to: files to write, files to judge, files to time.

Cells are named by a hash of everything that decides their figure, so that a suite that was stopped
does what is missing and nothing twice, and new weights are never given old figures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path

from edgesr.benchmarks.devices import open_device
from edgesr.benchmarks.suite.definition import Part, Shape, Suite, runtimes_of

from edgesr.models.intake import shipped_names
from edgesr.runtime.session import runtimes_for
from edgesr.targets import find_target

CPU = "cpu"


@dataclass(frozen=True)
class File:
    """An artifact to be."""

    network: str
    target: str
    precision: str
    shape: Shape

    @property
    def label(self) -> str:
        """For progress and failures."""
        height, width = self.shape
        return f"{self.network} {self.target} {self.precision} {height}x{width}"

    @property
    def key(self) -> str:
        """Hash of weights, settings and version."""
        return digest(
            [*asdict(self).values(), weights_hash(self.network), metadata.version("edgesr")]
        )

    def folder(self, out: Path) -> Path:
        """Where it is written: nothing else is in there."""
        return out / "artifacts" / self.key[:16]

    def path(self, out: Path) -> Path | None:
        """The artifact, if it has been written."""
        folder, suffix = self.folder(out), find_target(self.target).suffix
        found = sorted(folder.glob(f"*{suffix}")) if folder.is_dir() else []
        return found[0] if found else None


@dataclass(frozen=True)
class Timing:
    """An artifact to be timed somewhere."""

    file: File
    device: str
    threads: int
    runtime: str = ""
    """On the processor of this machine; devices have their own."""

    @property
    def label(self) -> str:
        """For progress and failures."""
        where = f" in {self.runtime}" if self.runtime else ""
        return f"{self.file.label}{where}, {self.threads} thread(s)"


def files_of(suite: Suite) -> list[File]:
    """Every artifact the suite needs, once."""
    return list(
        dict.fromkeys(
            File(network, target, precision, shape)
            for part in suite.parts
            for network in part.networks
            for target in part.targets
            for precision in part.precisions
            for shape in part.shapes
        )
    )


def timings_of(suite: Suite) -> list[Timing]:
    """Every row the suite wants; a device or runtime that does not open a target is passed over."""
    return list(
        dict.fromkeys(
            timing
            for part in suite.parts
            for file in files_of(Suite(suite.name, (part,)))
            for timing in _timings(part, file)
        )
    )


def _timings(part: Part, file: File) -> list[Timing]:
    path = Path(f"x{find_target(file.target).suffix}")
    able = [name for name in runtimes_for(path) if name in runtimes_of(part)]
    found = []
    for device in part.devices:
        for threads in part.threads:
            if device == CPU:
                found += [Timing(file, device, threads, runtime) for runtime in able]
            elif path.suffix in open_device(device).suffixes:
                found.append(Timing(file, device, threads))
    return found


def digest(facts: Sequence[object]) -> str:
    """SHA-256 over plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def weights_hash(spec: str) -> str:
    """Of the file the weights come from; empty where that is code (a factory, random weights)."""
    if spec in shipped_names():
        file = resources.files("edgesr.weights") / f"{spec}.safetensors"
        return hashlib.sha256(file.read_bytes()).hexdigest()
    path = Path(spec)
    return _file_hash(path, path.stat().st_mtime_ns) if path.is_file() else ""


@lru_cache(maxsize=64)
def _file_hash(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""`Device`: somewhere else to run an artifact, and what comes back from there.

A device is asked six things. `probe` says what it is, `push` brings one artifact and its golden
input there, `run` times it (or estimates, or only executes it), `pull` brings back what it made of
the golden input, `snapshot` reads what may disturb a figure (temperature, charger, clock) and
`close` puts everything back. The processor of this machine is no `Device`: it times in turns, in
`edgesr.benchmarks.cpu`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from edgesr.export.compile.report import DeviceError as DeviceError
from edgesr.export.compile.report import Placement as Placement

from edgesr.errors import BadFileError
from edgesr.manifest import Manifest
from edgesr.runtime.pixels import Array

Label = Literal["measured", "emulated", "estimate", "software"]
"""Where figures come from: the device itself, an emulator of its instructions, a compiler's model
of it, or a software stand-in for its graphics chip."""


@dataclass(frozen=True)
class Payload:
    """What is brought to a device.

    Attributes:
        artifact: the exported file.
        manifest: read from beside it.
        golden: input tensor in the artifact's own element type and layout, batch included.
    """

    artifact: Path
    manifest: Manifest
    golden: Array


@dataclass(frozen=True)
class Work:
    """How often, and with how many threads where the device has a choice."""

    runs: int = 30
    warm_up: int = 3
    threads: int = 1


@dataclass(frozen=True)
class Parity:
    """A device's golden output against the reference, as 8-bit pixels.

    Attributes:
        reference: what it was compared with.
        sha256: of the device's raw output.
        exact: whether the raw outputs are equal, byte for byte.
        max_lsb: largest difference of a pixel.
        identical: share of pixel values that are equal.
        psnr: dB over all values; None when they are all equal.
    """

    reference: str
    sha256: str
    exact: bool
    max_lsb: int
    identical: float
    psnr: float | None

    def describe(self) -> str:
        """For a table cell: `exact`, or how far off."""
        if self.exact:
            return "exact"
        if self.psnr is None:
            return "same pixels"
        return f"{self.max_lsb} LSB, {self.psnr:.1f} dB"


@dataclass(frozen=True)
class Run:
    """What one `Device.run` found out.

    Attributes:
        label: where the figures come from. Only `measured` may carry samples.
        runtime, version: what ran or compiled the file.
        samples: milliseconds, in the order they were taken.
        delegate: what took the graph over.
        estimate: of a compiler: `ms`, `cycles`, `sram_kib`, ... and the configuration assumed.
        placement: what the device left to a CPU.
        notes: what to know before quoting.
        facts: anything else worth keeping.
    """

    label: Label
    runtime: str
    version: str
    samples: tuple[float, ...] = ()
    delegate: str = ""
    estimate: Mapping[str, Any] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples and self.label != "measured":
            raise ValueError(f"a run that is {self.label} has no latency")


class Device(Protocol):
    """Somewhere to run artifacts. One artifact at a time is there."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files it takes."""

    @property
    def processes(self) -> int:
        """How many fresh processes make a fair measurement; 1 where nothing is measured."""

    def probe(self) -> dict[str, Any]:
        """What the device is: model, chip, system, versions.

        Raises:
            DeviceError: it is not here; the message holds the command that would get it.
        """

    def push(self, payload: Payload) -> None:
        """Bring an artifact and its golden input there.

        Raises:
            UnsupportedError: the device does not take such a file.
            DeviceError: it could not be copied or compiled.
        """

    def run(self, work: Work) -> Run:
        """Time, estimate or execute what was pushed.

        Raises:
            DeviceError: it failed there; the message holds the last thing it said.
        """

    def pull(self) -> Array | None:
        """What the last run made of the golden input; None where nothing is executed."""

    def snapshot(self) -> dict[str, Any]:
        """What may disturb a figure, now; empty where nothing may."""

    def close(self) -> None:
        """Put back what was changed, remove what was copied. Never raises."""


def check_file(device: str, payload: Payload, suffixes: tuple[str, ...], dtypes: str = "") -> None:
    """Refuse a file that `device` cannot take.

    Args:
        dtypes: element types it takes at both ends, comma-separated; empty for any.

    Raises:
        BadFileError: another kind of file, or another element type.
    """
    name = payload.artifact.name
    if payload.artifact.suffix not in suffixes:
        raise BadFileError(f"{device} takes {' or '.join(suffixes)} files, not {name}")
    dtype = payload.manifest.dtype
    if dtypes and dtype not in dtypes.split(","):
        raise BadFileError(
            f"{device} takes {' or '.join(dtypes.split(','))} tensors and {name} has {dtype} "
            f"ones; export it again with another --io or --precision"
        )

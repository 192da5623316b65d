"""What a vendor's compiler tells: `Compiled`, `Placement`, and the error when it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgesr.errors import EnvironmentLimitError


class DeviceError(EnvironmentLimitError):
    """A device or its tool is not there, refuses, or answers nonsense. Exit code 9."""


@dataclass(frozen=True)
class Placement:
    """Which operators the device takes and which it leaves to a CPU.

    Attributes:
        on_device: operators (or delegated nodes) that run on the device; None when not told.
        on_cpu: names of the operators left behind; None when only known to be some or none.
        full: whether nothing was left behind; None when not told.
    """

    on_device: int | None = None
    on_cpu: tuple[str, ...] | None = None
    full: bool | None = None

    @classmethod
    def of(cls, on_device: int | None, on_cpu: tuple[str, ...]) -> Placement:
        """From a complete list."""
        return cls(on_device, on_cpu, not on_cpu)

    def describe(self) -> str:
        """For a table cell: `all`, `all but DEPTH_TO_SPACE`, or `?`."""
        if self.full:
            return "all"
        if self.on_cpu:
            return "all but " + ", ".join(dict.fromkeys(self.on_cpu))
        return "?" if self.full is None else "not all"


@dataclass(frozen=True)
class Compiled:
    """An NPU's binary and what its compiler said.

    Attributes:
        tool: the compiler and its version: `vela 5.2.0`.
        chip: the NPU.
        label: `estimate`, or `emulated` where the binary was executed in the vendor's simulator.
            Nothing here is a measurement.
        files: that were made; the first is what a device loads.
        estimate: `ms`, `cycles`, `sram_kib`, ... as the compiler expects them.
        placement: what it left to the CPU.
        reasons: why, by operator, where it says so.
        facts: anything else worth keeping.
        output: of the simulator for the golden input; None where nothing was executed.
    """

    tool: str
    chip: str
    label: Literal["estimate", "emulated"]
    files: tuple[Path, ...]
    placement: Placement
    estimate: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for the manifest; files by name."""
        return {
            "tool": self.tool,
            "chip": self.chip,
            "label": self.label,
            "files": [file.name for file in self.files],
            "size": sum(file.stat().st_size for file in self.files),
            "estimate": dict(self.estimate),
            "placement": asdict(self.placement),
            "reasons": dict(self.reasons),
            "facts": dict(self.facts),
        }

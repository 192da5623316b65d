"""NPUs through the compilers of their vendors, offline: `ethos-u65-512`, `rknn:rk3588`, `qnn:v75`.

Rockchip's and Qualcomm's come with a simulator, which runs the golden tile; Arm's estimates the
time. Which operators stay on a CPU they all tell; a latency, none.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.device import Payload, Run, Work, check_file
from edgesr.export.compile import COMPILERS, Compiled

from edgesr.errors import BadFileError
from edgesr.runtime.pixels import Array


def ethos_u(choice: str) -> CompilerDevice:
    """Arm Ethos-U; nothing is executed, so there is no parity."""
    about = "Vela's estimate for {system}, {memory}; nothing was executed"
    return CompilerDevice(f"ethos-{choice}", "vela", f"ethos-{choice}", about, (".tflite",))


def rockchip(choice: str) -> CompilerDevice:
    """Rockchip's NPUs."""
    about = "executed in the vendor's simulator; time needs a board"
    return CompilerDevice(f"rknn:{choice}", "rknn", choice, about, (".onnx",))


def hexagon(choice: str) -> CompilerDevice:
    """Qualcomm's NPU. v69: Snapdragon 8 Gen 1, v73: Gen 2, v75: Gen 3, v79: 8 Elite."""
    about = "Hexagon was emulated on x86; run it on a phone for a latency"
    return CompilerDevice(f"qnn:{choice}", "qnn", choice, about, (".onnx",))


@dataclass
class CompilerDevice:
    """One chip. See `Device` for what the methods are for."""

    name: str
    compiler: str
    """Of `COMPILERS`."""
    chip: str
    about: str
    """What its figures are, with places for figures of the estimate."""
    suffixes: tuple[str, ...]
    processes: int = 1
    _payload: Payload | None = field(default=None, init=False)
    _output: Array | None = field(default=None, init=False)

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        return {"npu": self.chip, "compiler": COMPILERS[self.compiler].require()}

    def push(self, payload: Payload) -> None:
        """See `Device.push`."""
        check_file(self.name, payload, self.suffixes)
        name = payload.artifact.name
        if payload.manifest.precision != "int8":
            raise BadFileError(
                f"{self.name} computes in int8 and {name} is {payload.manifest.precision}; "
                "export it with --precision int8"
            )
        if payload.manifest.height is None:
            raise BadFileError(
                f"{self.name} needs one input size, and {name} takes any; export it with --shape"
            )
        self._payload, self._output = payload, None

    def run(self, work: Work) -> Run:
        """Compile, and execute where there is a simulator; `work` does not matter."""
        assert self._payload is not None
        with tempfile.TemporaryDirectory(prefix="edgesr-npu-") as folder:
            compiled = COMPILERS[self.compiler].compile_file(
                self._payload.artifact, self.chip, Path(folder), self._payload.golden
            )
            self._output = compiled.output
            sizes = {file.name: file.stat().st_size for file in compiled.files}
        tool, _, version = compiled.tool.partition(" ")
        return Run(
            label=compiled.label,
            runtime=tool,
            version=version,
            delegate=self.chip,
            estimate=compiled.estimate,
            placement=compiled.placement,
            notes=tuple(self._notes(compiled)),
            facts={"reasons": dict(compiled.reasons), "binary": sizes, **compiled.facts},
        )

    def pull(self) -> Array | None:
        """See `Device.pull`."""
        return self._output

    def snapshot(self) -> dict[str, Any]:
        """A compiler is never too hot."""
        return {}

    def close(self) -> None:
        """Nothing to put back."""
        self._output = None

    def _notes(self, compiled: Compiled) -> list[str]:
        notes = [f"{self.name}: {self.about.format(**compiled.estimate)}"]
        if compiled.placement.on_cpu:
            left = ", ".join(dict.fromkeys(compiled.placement.on_cpu))
            notes.append(f"{self.name} leaves {left} to the CPU; no figure here contains it")
        if "file" in compiled.reasons:
            notes.append(f"{self.name} does not take the whole file: {compiled.reasons['file']}")
        return notes

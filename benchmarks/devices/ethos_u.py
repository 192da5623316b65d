"""Arm Ethos-U through Vela, its offline compiler: estimated time, SRAM, operators left behind.

`--device ethos-u65-512`. Vela schedules the int8 file for the NPU and counts cycles with its model
of the block and of the memories; its own documentation calls them estimates, and so does the
label. Operators left to the CPU are not in the time. Nothing is executed, so there is no parity.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.device import (
    DeviceError,
    Payload,
    Placement,
    Run,
    Work,
    check_file,
)

from edgesr.errors import BadFileError, UsageError
from edgesr.runtime.pixels import Array

CONFIGURATIONS = (
    "u55-32", "u55-64", "u55-128", "u55-256", "u65-256", "u65-512",
    "u85-128", "u85-256", "u85-512", "u85-1024", "u85-2048",
)  # fmt: skip
"""NPU and its multiply-accumulates per cycle."""

INSTALL = "pip install 'edgesr[npu]'"

_PLACED = re.compile(r"^\s+(CPU|NPU): (\S+) = (\S+)", re.MULTILINE)
_REASON = re.compile(r"operator: (\w+), ofm: '([^'\n]+)'\s*\n[\s-]*Reason: ([^\n]+)")


class EthosU:
    """One NPU configuration."""

    suffixes = (".tflite",)
    processes = 1

    def __init__(self, choice: str) -> None:
        if choice not in CONFIGURATIONS:
            known = ", ".join(f"ethos-{name}" for name in CONFIGURATIONS)
            raise UsageError(f"no NPU is called `ethos-{choice}`; Vela knows {known}")
        self.name = f"ethos-{choice}"
        self._payload: Payload | None = None

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        if find_spec("ethosu") is None:
            raise DeviceError(f"Vela, Arm's compiler for Ethos-U, is not installed: {INSTALL}")
        from importlib.metadata import version

        return {"npu": self.name, "vela": version("ethos-u-vela")}

    def push(self, payload: Payload) -> None:
        """See `Device.push`."""
        check_file(self.name, payload, self.suffixes)
        if payload.manifest.precision != "int8":
            raise BadFileError(
                f"{self.name} computes in int8 and {payload.artifact.name} is "
                f"{payload.manifest.precision}; export it with --precision int8"
            )
        self._payload = payload

    def run(self, work: Work) -> Run:
        """Compile and estimate; `work` does not matter."""
        assert self._payload is not None
        version = str(self.probe()["vela"])
        with tempfile.TemporaryDirectory(prefix="edgesr-vela-") as scratch:
            command = [
                sys.executable, "-m", "ethosu.vela", str(self._payload.artifact),
                "--accelerator-config", self.name, "--output-dir", scratch,
                "--show-cpu-operations", "--verbose-performance",
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            summaries = list(Path(scratch).glob("*_summary_*.csv"))
            if done.returncode or len(summaries) != 1:
                lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
                raise DeviceError(
                    f"Vela cannot compile {self._payload.artifact.name} for {self.name}: "
                    f"{lines[-1]}"
                )
            estimate = read_summary(summaries[0].read_text())
        placement, reasons = read_placement(done.stdout)
        memories = f"{estimate['system']}, {estimate['memory']}"
        notes: tuple[str, ...] = (
            f"{self.name}: Vela's estimate for {memories}; nothing was executed",
        )
        if placement.on_cpu:
            left = ", ".join(placement.on_cpu)
            notes += (f"{self.name} leaves {left} to the CPU; the estimate does not contain it",)
        return Run(
            label="estimate",
            runtime="vela",
            version=version,
            delegate=self.name,
            estimate=estimate,
            placement=placement,
            notes=notes,
            facts={"reasons": reasons} if reasons else {},
        )

    def pull(self) -> Array | None:
        """Nothing was executed."""
        return None

    def snapshot(self) -> dict[str, Any]:
        """A compiler is never too hot."""
        return {}

    def close(self) -> None:
        """Nothing to put back."""


def read_summary(text: str) -> dict[str, Any]:
    """Figures of Vela's summary file.

    Raises:
        DeviceError: it lacks a column: another version of Vela.
    """
    try:
        (row,) = csv.DictReader(text.splitlines())
        return {
            "ms": float(row["inference_time"]) * 1e3,
            "cycles": int(float(row["cycles_total"])),
            "npu_cycles": int(float(row["cycles_npu"])),
            "clock_mhz": float(row["core_clock"]) / 1e6,
            "sram_kib": float(row["sram_memory_used"]),
            "dram_kib": float(row["dram_memory_used"]),
            "flash_kib": float(row["off_chip_flash_memory_used"]),
            "macs": int(float(row["nn_macs"])),
            "system": row["system_config"],
            "memory": row["memory_mode"],
        }
    except (ValueError, KeyError) as error:
        raise DeviceError(
            f"Vela's summary is not what edgesr reads ({error!r}); {INSTALL} gets a known version"
        ) from error


def read_placement(text: str) -> tuple[Placement, dict[str, str]]:
    """Operators per processor from Vela's output, and why some were left to the CPU.

    Vela lists an operator it does not know as `Passthrough`; the warning above has its type.
    """
    refused = {output: (kind, why.strip()) for kind, output, why in _REASON.findall(text)}
    placed = _PLACED.findall(text)
    if not placed:
        return Placement(), {}
    on_cpu = [
        refused.get(output, (kind, ""))[0] for where, kind, output in placed if where == "CPU"
    ]
    on_npu = sum(where == "NPU" for where, _, _ in placed)
    return Placement.of(on_npu, tuple(on_cpu)), dict(refused.values())

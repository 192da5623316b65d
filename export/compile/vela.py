"""Arm Ethos-U through Vela, its offline compiler: the optimized file, estimated time, SRAM.

Vela schedules an int8 TFLite file for the NPU and counts cycles with its model of the block and of
the memories; its own documentation calls them estimates, and so do we. Operators left to the CPU
are not in the time. Nothing is executed.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgesr.export.compile.report import Compiled, DeviceError, Placement

from edgesr.lifeline import tied

INSTALL = "pip install 'edgesr[npu]'"

_PLACED = re.compile(r"^\s+(CPU|NPU): (\S+) = (\S+)", re.MULTILINE)
_REASON = re.compile(r"operator: (\w+), ofm: '([^'\n]+)'\s*\n[\s-]*Reason: ([^\n]+)")


def require() -> str:
    """See `Compiler.require`."""
    if find_spec("ethosu") is None:
        raise DeviceError(f"Vela, Arm's compiler for Ethos-U, is not installed: {INSTALL}")
    return f"vela {version('ethos-u-vela')}"


def compile_file(artifact: Path, chip: str, folder: Path, golden: Any = None) -> Compiled:
    """See `Compiler.compile_file`; nothing is executed, so `golden` does not matter."""
    tool = require()
    command = [
        sys.executable, "-m", "ethosu.vela", str(artifact), "--accelerator-config", chip,
        "--output-dir", str(folder), "--show-cpu-operations",
    ]  # fmt: skip
    done = subprocess.run(tied(command), capture_output=True, text=True, check=False)
    summaries = list(folder.glob(f"{artifact.stem}_summary_*.csv"))
    if done.returncode or len(summaries) != 1:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise DeviceError(f"Vela cannot compile {artifact.name} for {chip}: {lines[-1]}")
    estimate = read_summary(summaries[0].read_text())
    summaries[0].unlink()
    placement, reasons = read_placement(done.stdout)
    return Compiled(
        tool=tool,
        chip=chip,
        label="estimate",
        files=(folder / f"{artifact.stem}_vela.tflite",),
        placement=placement,
        estimate=estimate,
        reasons=reasons,
    )


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

"""Rockchip NPUs through rknn-toolkit2: compiled for the chip, executed in the vendor's simulator.

`--device rknn` or `rknn:rk3576`. The toolkit imports the scales of our ONNX file, so no second
calibration stands between the two. It tells which operators the NPU takes and how many cycles it
expects; time needs a board.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.child import ChildDevice
from edgesr.benchmarks.devices.device import Payload, Placement, Run
from edgesr.benchmarks.devices.tools import RKNN

from edgesr.errors import BadFileError

CHIPS = ("rk3588", "rk3576", "rk3566", "rk3562", "rv1126b")

_ROW = re.compile(
    r"^D RKNN: \[[\d:.]+\] \d+ +(\w+) +\w+ +(NPU|CPU|GPU) .*? (\d+)/(\d+)/(\d+) ", re.MULTILINE
)
_ENDS = ("InputOperator", "OutputOperator")
"""Copies in and out, which every file has."""


class Rknn(ChildDevice):
    """One chip."""

    suffixes = (".onnx",)
    script = "child_rknn.py"

    def __init__(self, choice: str) -> None:
        self.name = f"rknn:{choice}"
        self._chip = choice

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        RKNN.require()
        return {"npu": f"of {self._chip}, simulated"}

    def python(self) -> Path:
        """See `ChildDevice.python`."""
        return RKNN.require()

    def push(self, payload: Payload) -> None:
        """See `Device.push`; files of any size are no use to a compiler."""
        super().push(payload)
        if payload.manifest.height is None:
            raise BadFileError(
                f"{self.name} needs one input size, and {payload.artifact.name} takes any; "
                "export it with --shape"
            )

    def job(self, payload: Payload, scratch: Path) -> dict[str, Any]:
        """For which chip."""
        return {"chip": self._chip}

    def describe(self, answer: Mapping[str, Any], log: str) -> Run:
        """See `ChildDevice.describe`."""
        placement, cycles = read_table(log)
        return Run(
            label="emulated",
            runtime="rknn-toolkit2",
            version=RKNN.alone[0].split("==")[-1],
            delegate=self._chip,
            estimate={"cycles": cycles} if cycles else {},
            placement=placement,
            notes=(f"{self.name}: executed in the vendor's simulator; time needs a board",),
            facts=dict(answer),
        )


def read_table(log: str) -> tuple[Placement, int]:
    """Operators per processor, and the sum of the cycles expected, from the compiler's table."""
    rows = [row for row in _ROW.findall(log) if row[0] not in _ENDS]
    if not rows:
        return Placement(), 0
    on_cpu = tuple(kind for kind, where, *_ in rows if where != "NPU")
    return Placement.of(len(rows) - len(on_cpu), on_cpu), sum(int(row[-1]) for row in rows)

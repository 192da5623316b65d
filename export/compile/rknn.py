"""Rockchip NPUs through rknn-toolkit2: the `.rknn` file, executed in the vendor's simulator.

The toolkit imports the scales of our ONNX file, so no second calibration stands between the two.
It spells DepthToSpace itself where the chip has no such operator: on the RK3576, and on the RK3588
for x2, as a transposed convolution; for x3 the RK3588 leaves it to the CPU. (Writing it as a
transposed convolution ourselves does not help there: the toolkit makes a pad on the CPU and a
convolution of it that costs more than half of plain-m-x3, and rounds worse.)
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.export.compile.child import call
from edgesr.export.compile.environments import RKNN
from edgesr.export.compile.report import Compiled, Placement

_ROW = re.compile(
    r"^D RKNN: \[[\d:.]+\] \d+ +(\w+) +\w+ +(NPU|CPU|GPU) .*? (\d+)/(\d+)/(\d+) ", re.MULTILINE
)
_ENDS = ("InputOperator", "OutputOperator")
"""Copies in and out, which every file has."""


def require() -> str:
    """See `Compiler.require`."""
    RKNN.require()
    return RKNN.alone[0].replace("==", " ")


def compile_file(artifact: Path, chip: str, folder: Path, golden: Any = None) -> Compiled:
    """See `Compiler.compile_file`."""
    tool, binary = require(), folder / f"{artifact.stem}.rknn"
    with tempfile.TemporaryDirectory(prefix="edgesr-rknn-") as name:
        scratch = Path(name)
        job = {
            "model": str(artifact.resolve()), "chip": chip, "binary": str(binary.resolve()),
            "scratch": name, "output": str(scratch / "output.npy"),
        }  # fmt: skip
        if golden is not None:
            job["input"] = str(scratch / "input.npy")
            np.save(job["input"], golden)
        script = Path(__file__).with_name("child_rknn.py")
        facts, log = call(chip, RKNN.require(), script, job)
        output = None if golden is None else np.load(job["output"], allow_pickle=False)
    placement, cycles = read_table(log)
    return Compiled(
        tool=tool,
        chip=chip,
        label="estimate" if golden is None else "emulated",
        files=(binary,),
        placement=placement,
        estimate={"cycles": cycles} if cycles else {},
        facts=facts,
        output=output,
    )


def read_table(log: str) -> tuple[Placement, int]:
    """Operators per processor, and the sum of the cycles expected, from the compiler's table."""
    rows = [row for row in _ROW.findall(log) if row[0] not in _ENDS]
    if not rows:
        return Placement(), 0
    on_cpu = tuple(kind for kind, where, *_ in rows if where != "NPU")
    return Placement.of(len(rows) - len(on_cpu), on_cpu), sum(int(row[-1]) for row in rows)

"""How fast the quantizers' files run, beside ours in the same runtime.

    python -m edgesr.benchmarks.peers.quantizers.speed --work out/quantizers

`--work` is the folder in which `python -m edgesr.benchmarks.peers.quantizers` left its files. All
files take turns in one run, on one thread, with float32 tensors at both ends because that is what
the others write; ours a second time with the uint8 ends that it has by default. `ratio` is a file's
median over that of ours in its runtime.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.documents import write_document
from edgesr.benchmarks.entrants import Entrant, open_runner, tensor_for
from edgesr.benchmarks.harness import Contender, Plan, measure
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.markdown import replace_section, table
from edgesr.benchmarks.peers.quantizers.compare import OURS, QUANTIZERS
from edgesr.benchmarks.peers.quantizers.files import open_float
from edgesr.benchmarks.statistics import summarize
from edgesr.export import export

from edgesr.errors import BadFileError, EdgesrError
from edgesr.models.intake import load

RESULT = Path(__file__).parents[2] / "results" / "quantizer_speed.json"
VERSION = 1
RUNTIMES = {
    "tflite": ("litert", ".tflite"),
    "onnx": ("ort", ".onnx"),
    "openvino": ("openvino", ".xml"),
}
COLUMNS = {
    "network": "network", "runtime": "runtime", "tool": "tool", "ends": "ends",
    "median": "median ms", "best": "best ms", "spread": "spread %", "ratio": "ratio",
}  # fmt: skip


def compare(
    networks: Sequence[str], work: Path, height: int, width: int, plan: Plan
) -> list[dict[str, Any]]:
    """Time every network's files, ours among them.

    Raises:
        BadFileError: `work` holds no file of a network.
    """
    rows: list[dict[str, Any]] = []
    contenders: list[Contender] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in networks:
            found = [*_ours(name, Path(folder), height, width), *_theirs(name, work, height, width)]
            if {row["tool"] for row, _ in found} == {OURS}:
                raise BadFileError(
                    f"{work} has no file of {name}: run the comparison of quality first"
                )
            for row, call in found:
                rows.append({"network": name, **row})
                contenders.append(Contender(f"{name} {row['tool']} in {row['runtime']}", call))
        for row, samples in zip(rows, measure(contenders, plan), strict=True):
            row["samples"] = samples
    return rows


Found = Iterator[tuple[dict[str, Any], Callable[[], object]]]


def _ours(name: str, folder: Path, height: int, width: int) -> Found:
    for target, (runtime, _) in RUNTIMES.items():
        for ends in ("float32", "uint8"):
            out = folder / name / ends
            made = export(
                load(name), target=target, precision="int8", shape=(height, width), io=ends, out=out
            )
            runner = open_runner(Entrant(str(made.path), runtime, 1))
            tensor = tensor_for(runner.manifest, height, width)
            row = {"runtime": runtime, "tool": OURS, "ends": ends}
            yield row, lambda run=runner.infer, x=tensor: run(x)  # type: ignore[misc]


def _theirs(name: str, work: Path, height: int, width: int) -> Found:
    image = np.random.default_rng(0).random((height, width, 3), np.float32)
    for quantizer in QUANTIZERS:
        path = work / name / f"{quantizer.name.replace(' ', '-')}{quantizer.suffix}"
        if path.exists():
            (runtime,) = (r for r, suffix in RUNTIMES.values() if suffix == quantizer.suffix)
            row = {"runtime": runtime, "tool": quantizer.name, "ends": "float32"}
            yield row, open_float(path, image)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table; a file that is faster than ours with the same ends is bold."""
    medians = {
        (row["network"], row["runtime"]): summarize(row["samples"]).median
        for row in rows
        if row["tool"] == OURS and row["ends"] == "float32"
    }
    flat = []
    for row in rows:
        times = summarize(row["samples"])
        ratio = times.median / medians[row["network"], row["runtime"]]
        told = f"{ratio:.2f}"
        flat.append({
            **row, "median": f"{times.median:.1f}", "best": f"{times.best:.1f}",
            "spread": round(100 * times.spread),
            "ratio": f"**{told}**" if ratio < 1 and row["tool"] != OURS else told,
        })  # fmt: skip
    return table(flat, COLUMNS)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.peers.quantizers.speed",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--networks", nargs="+", default=["plain-m-x3", "ncnet-x3"])
    parser.add_argument("--work", type=Path, required=True, help="the tools' files")
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args(arguments)
    meter = LoadMeter()
    try:
        rows = compare(
            chosen.networks, chosen.work, chosen.height, chosen.width, Plan(runs=chosen.runs)
        )
        text = markdown(rows)
        if chosen.readme:
            replace_section(chosen.readme, "quantizer speed", text)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    document = {
        "version": VERSION, "command": "python -m edgesr.benchmarks.peers.quantizers.speed",
        "height": chosen.height, "width": chosen.width, "threads": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(this_machine()), "load": asdict(meter.stop()), "rows": rows,
    }  # fmt: skip
    write_document(document, chosen.out)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

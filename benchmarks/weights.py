"""The table of the shipped weights: size, work, dB in fp32 and in int8, milliseconds.

    python -m edgesr.benchmarks.weights --page docs/weights.md --readme README.md
    python -m edgesr.benchmarks.weights --bench --page docs/weights.md --readme README.md

Figures whose weights, images and code did not change are kept, so the command can be stopped and
called again. Times are taken only with `--bench`, all networks in turns in one run: on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.documents import Document, read_document, write_document
from edgesr.benchmarks.entrants import line_up
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import this_machine
from edgesr.benchmarks.markdown import replace_section
from edgesr.benchmarks.quality import PROTOCOL
from edgesr.benchmarks.quantization import Options, measure_row
from edgesr.benchmarks.subjects import Subject
from edgesr.benchmarks.weights_table import page_table, readme_table
from edgesr.export.pipeline import export

from edgesr.analysis import analyse, sketch
from edgesr.data.datasets import Dataset, calibration_samples, dataset
from edgesr.errors import EdgesrError, UsageError
from edgesr.models import parse_name
from edgesr.models.intake import load, shipped_names

RESULT = Path(__file__).parent / "results" / "weights.json"
VERSION = 2
ELSEWHERE = {
    "arbsr-plain": "any-scale.md",
    "arbsr-edsr-baseline": "any-scale.md",
    "mzsr-x2": "adapt.md",
}
"""Not used at one scale as they are: their pages have figures of their own."""

Row = dict[str, Any]


def names() -> list[str]:
    """The networks of the table: by scale, then by parameters."""
    own = [name for name in shipped_names() if name not in ELSEWHERE]
    return sorted(own, key=lambda name: (parse_name(name)[1], analyse(sketch(name)).parameters))


def weights_folder() -> Path:
    """Where shipped weights lie, and fine-tuned integers (`NAME.int8.safetensors`) beside them."""
    return Path(str(resources.files("edgesr.weights")))


def cost(name: str) -> Row:
    """Deployed parameters, and multiplications for an output of 1280x720."""
    found = analyse(sketch(name))
    return {
        "parameters": found.parameters, "macs": found.macs, "height": found.height,
        "width": found.width,
    }  # fmt: skip


def times(chosen: Sequence[str], *, runs: int, threads: int) -> dict[str, Row]:
    """Latency of the int8 files in LiteRT, all in turns, at the input whose output is 1280x720.

    Scales of a calibration are no matter of time: one crop gives some.
    """
    crop = next(iter(calibration_samples()))[:64, :64]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name in chosen:
            size = cost(name)
            files.append(
                export(
                    load(name), target="tflite", precision="int8", out=folder, calibration=[crop],
                    shape=(size["height"], size["width"]),
                ).path
            )  # fmt: skip
        entrants = line_up([str(f) for f in files], runtimes=["litert"], threads=[threads])
        result = bench(entrants, Plan(runs=runs), memory=False, ceilings=False)
    about = {
        "machine": result.machine.cpu, "instructions": result.machine.instructions,
        "threads": threads, "started": result.started, "warnings": result.warnings(),
    }  # fmt: skip
    return {
        name: {
            "ms": row.summary.median, "spread": row.summary.spread,
            "runtime": f"{row.runtime} {row.runtime_version}", **about,
        }
        for name, row in zip(chosen, result.rows, strict=True)
    }  # fmt: skip


def run(chosen: Sequence[str], sets: Sequence[Dataset], out: Path, options: Options) -> Document:
    """Measure the quality that is missing; `out` is written after every network."""
    rows = _known(out)
    for name in chosen:
        known = rows.get(name, {})
        row = measure_row(Subject(name, "plain"), sets, known, options) | cost(name)
        row["sets"] = _of_one_make(row["sets"], [data.name for data in sets])
        if row.get("no_qat"):  # integers that were taken out of the box leave no figures
            for cells in row["sets"].values():
                cells.pop("qat", None)
        rows[name] = row | {key: known[key] for key in ("latencies",) if key in known}
        write_document(_document(rows, len(options.calibration)), out)
    return _document(rows, len(options.calibration))


def _of_one_make(cells: Mapping[str, Row], asked: Sequence[str]) -> dict[str, Row]:
    """The sets that were asked for, and others whose figures are of the same weights and code."""

    def make(one: Row) -> dict[str, str]:
        return {kind: cell["made_from"] for kind, cell in one.items() if kind != "fp32"}

    fresh = [make(cells[name]) for name in asked if name in cells]
    kept = {name for name in cells if name in asked or not fresh or make(cells[name]) == fresh[0]}
    return {name: one for name, one in cells.items() if name in kept}


def with_times(latencies: Mapping[str, Row], out: Path) -> Document:
    """The document with new times, beside those of other machines."""
    before, rows = read_document(out, VERSION), _known(out)
    for name, latency in latencies.items():
        rows[name] = {"network": name, "sets": {}, **cost(name), **rows.get(name, {})}
        rows[name]["latencies"] = rows[name].get("latencies", {}) | {latency["machine"]: latency}
    document = _document(rows, before.get("calibration_images"))
    write_document(document, out)
    return document


def _known(out: Path) -> dict[str, Row]:
    """Rows that are there, of weights that are still shipped."""
    order = names()
    rows = {row["network"]: row for row in read_document(out, VERSION)["rows"]}
    return {name: rows[name] for name in order if name in rows}


def _document(rows: Mapping[str, Row], photos: int | None) -> Document:
    files = [f for f in weights_folder().iterdir() if f.suffix == ".safetensors"]
    return {
        "version": VERSION,
        "command": "python -m edgesr.benchmarks.weights",
        "protocol": PROTOCOL.partition(";")[0],
        "calibration_images": photos,
        "files": len(files),
        "megabytes": sum(file.stat().st_size for file in files) / 1e6,
        "elsewhere": {k: v for k, v in ELSEWHERE.items() if k in shipped_names()},
        "machine": asdict(this_machine()),
        "rows": [rows[name] for name in names() if name in rows],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.weights", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", nargs="+", help="shipped networks; default: all")
    parser.add_argument(
        "--sets", nargs="*", default=["set5", "set14", "b100"], help="none: times only"
    )
    parser.add_argument("--qat", type=Path, help="folder of NAME.int8.safetensors; default: ours")
    parser.add_argument("--keep", type=Path, help="folder for PTQ's results, for the next run")
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    parser.add_argument("--bench", action="store_true", help="take times, too")
    parser.add_argument("--runs", type=int, default=30, help="--bench: timed calls of each")
    parser.add_argument("--threads", type=int, default=1, help="--bench: of LiteRT")
    parser.add_argument("--markdown", action="store_true", help="write tables, measure nothing")
    parser.add_argument("--page", type=Path, help="put the whole table into this file")
    parser.add_argument("--readme", type=Path, help="put the short table into this file")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON, extended")
    chosen = parser.parse_args(arguments)
    try:
        document = _asked(chosen)
        if chosen.page:
            replace_section(chosen.page, "weights", page_table(document))
        if chosen.readme:
            replace_section(chosen.readme, "weights", readme_table(document))
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(page_table(document))
    return 0


def _asked(chosen: argparse.Namespace) -> Document:
    if chosen.markdown:
        return read_document(chosen.out, VERSION)
    known = names()
    for name in chosen.rows or ():
        if name not in known:
            raise UsageError(f"no weights of `{name}` are in the table; it has {', '.join(known)}")
    rows = chosen.rows or known
    options = Options(
        qat=chosen.qat or weights_folder(), keep=chosen.keep, again=chosen.again,
        calibration=list(calibration_samples()),
    )  # fmt: skip
    if chosen.sets:
        document = run(rows, [dataset(name) for name in chosen.sets], chosen.out, options)
    else:
        document = read_document(chosen.out, VERSION)
    if chosen.bench:
        latencies = times(rows, runs=chosen.runs, threads=chosen.threads)
        document = with_times(latencies, chosen.out)
    return document


if __name__ == "__main__":
    sys.exit(main())

"""What int8 costs: every network in fp32, after PTQ, plain and split, and after QAT.

    python -m edgesr.benchmarks.quantization --qat out/qat --readme benchmarks/results/README.md

On the literature's images. int8 is the integer reference, compared with LiteRT on the first images
of each set. Figures that are there and whose weights, images and code did not change are kept, so
the command can be stopped and called again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.candidates import Candidate, Made, candidates_for, litert
from edgesr.benchmarks.documents import Document, read_document, write_document
from edgesr.benchmarks.machine import this_machine, usable_cores
from edgesr.benchmarks.markdown import replace_section
from edgesr.benchmarks.quality import PROTOCOL, Quality, judge, on_rgb
from edgesr.benchmarks.quantization_table import markdown
from edgesr.benchmarks.subjects import SUBJECTS, Subject, load_subject
from edgesr.quantize import store

from edgesr.data.datasets import Dataset, calibration_images, calibration_samples, dataset
from edgesr.data.images import Image
from edgesr.errors import BadFileError, EdgesrError, UsageError
from edgesr.network import Network
from edgesr.runtime import NetworkSession

RESULT = Path(__file__).parent / "results" / "quantization.json"
VERSION = 1


@dataclass(frozen=True)
class Options:
    """Where things lie and how much to measure.

    Attributes:
        states: folder of training runs (`NAME/state.pt`).
        qat: folder of fine-tuned networks (`NAME.int8.safetensors`).
        keep: folder in which PTQ's results wait for the next run.
        litert: compare this many images of each set with LiteRT.
        again: measure what is there already, too.
        only: names of candidates to measure; others keep the figures they have. Empty: all.
    """

    states: Path | None = None
    qat: Path | None = None
    keep: Path | None = None
    litert: int = 2
    again: bool = False
    only: Sequence[str] = ()
    calibration: Sequence[Image] = field(default_factory=lambda: list(calibration_samples()))


Row = dict[str, Any]


def measure_row(subject: Subject, sets: Sequence[Dataset], known: Row, options: Options) -> Row:
    """One network on all sets; figures of `known` that still hold are kept."""
    row: Row = {"network": subject.name, "group": subject.group, "source": subject.source}
    try:
        network = load_subject(subject, options.states)
        fine_tuned, missing = _qat_file(subject, options.qat)
        candidates = candidates_for(
            subject,
            network,
            options.calibration,
            qat=fine_tuned,
            keep=options.keep,
            with_split=True,
        )
    except BadFileError as error:
        return row | {"skipped": str(error), "sets": known.get("sets", {})}
    row |= {"scale": network.scale, "weights": network.fingerprint(), "no_qat": missing, "sets": {}}
    made: dict[str, Made] = {}
    for data in sets:
        before = known.get("sets", {}).get(data.name, {})
        wanted = [c for c in candidates if _is_wanted(c, data, before, options)]
        kept = {c.name: before[c.name] for c in candidates if c.name in before}
        if not wanted:
            row["sets"][data.name] = before
            continue
        for candidate in wanted:
            made.setdefault(candidate.name, candidate.make())
        exact, cells = _measure(network, data, wanted, made, options.litert)
        cells = {c.name: (kept | cells)[c.name] for c in candidates if c.name in kept | cells}
        row["sets"][data.name] = {"fp32": exact, **cells}
    others = {
        name: cells for name, cells in known.get("sets", {}).items() if name not in row["sets"]
    }
    row["sets"] |= others
    return row


def _is_wanted(candidate: Candidate, data: Dataset, before: Row, options: Options) -> bool:
    if options.only and candidate.name not in options.only:
        return False
    return options.again or not _holds(candidate, data, before)


def _holds(candidate: Candidate, data: Dataset, before: Row) -> bool:
    cell = before.get(candidate.name, {})
    same = cell.get("made_from") == candidate.made_from
    return same and tuple(cell.get("images", ())) == data.labels


def _qat_file(subject: Subject, folder: Path | None) -> tuple[Path | None, str]:
    """The file, or why there is none."""
    name = f"{subject.name.replace(' ', '-')}{store.SUFFIX}"
    if folder is None:
        return None, "--qat names no folder"
    path = folder / name
    return (path, "") if path.is_file() else (None, f"there is no {name}")


def _measure(
    network: Network,
    data: Dataset,
    wanted: Sequence[Candidate],
    made: dict[str, Made],
    compared: int,
) -> tuple[Row, dict[str, Row]]:
    ours = {c.name: made[c.name].quantized for c in wanted if made[c.name].quantized}
    checks = {name: {"images": 0, "values": 0, "different": 0, "largest": 0} for name in ours}

    def compare(label: str, low: Image, results: dict[str, Image]) -> None:
        for name, quantized in ours.items():
            if checks[name]["images"] < compared and quantized is not None:
                gap = np.abs(litert(quantized, low).astype(np.int16) - results[name])
                checks[name]["images"] += 1
                checks[name]["values"] += gap.size
                checks[name]["different"] += int(np.count_nonzero(gap))
                checks[name]["largest"] = max(checks[name]["largest"], int(gap.max()))

    assert isinstance(network.scale, int)
    start = time.perf_counter()
    runs = {c.name: made[c.name].run for c in wanted}
    fp32 = on_rgb(NetworkSession(network, usable_cores()).run, network)
    exact, found = judge(fp32, runs, data, network.scale, watch=compare)
    told = {
        "seconds": round(time.perf_counter() - start, 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    cells = {}
    for candidate in wanted:
        quality = found[candidate.name]
        cells[candidate.name] = {
            "made_from": candidate.made_from, **_flat(quality),
            "drop": exact.mean - quality.mean, "against_fp32": quality.against_fp32,
            "litert": checks.get(candidate.name), "steps": made[candidate.name].steps, **told,
        }  # fmt: skip
    return _flat(exact), cells


def _flat(quality: Quality) -> Row:
    return {
        "mean": quality.mean,
        "images": list(quality.images),
        "psnr": [round(value, 4) for value in quality.psnr],
    }


def run(
    subjects: Sequence[Subject], sets: Sequence[Dataset], out: Path, options: Options
) -> Document:
    """Measure what is missing; `out` is written after every row."""
    rows = {row["network"]: row for row in read_document(out, VERSION)["rows"]}
    order = [subject.name for subject in SUBJECTS]
    document: Document = {}
    for subject in subjects:
        rows[subject.name] = measure_row(subject, sets, rows.get(subject.name, {}), options)
        names = sorted(rows, key=lambda name: order.index(name) if name in order else len(order))
        document = {
            "version": VERSION,
            "command": "python -m edgesr.benchmarks.quantization",
            "protocol": PROTOCOL,
            "calibration_images": len(options.calibration),
            "machine": asdict(this_machine()),
            "rows": [rows[name] for name in names],
        }
        write_document(document, out)
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.quantization", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", nargs="+", help=", ".join(s.name for s in SUBJECTS))
    parser.add_argument("--sets", nargs="+", default=["set14", "b100"])
    parser.add_argument("--limit", type=int, help="images of each set")
    parser.add_argument("--qat", type=Path, help=f"folder of NAME{store.SUFFIX}")
    parser.add_argument("--states", type=Path, help="folder of training runs, NAME/state.pt")
    parser.add_argument("--calibration", type=Path, help="folder of low-resolution photos")
    parser.add_argument("--keep", type=Path, help="folder for PTQ's results, for the next run")
    parser.add_argument("--litert", type=int, default=2, help="images to compare with LiteRT")
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    parser.add_argument("--only", nargs="+", default=(), help="ptq, split, qat: measure no other")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, measure nothing")
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON, extended")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.markdown:
            document = read_document(chosen.out, VERSION)
        else:
            photos = calibration_images(chosen.calibration) if chosen.calibration else None
            options = Options(
                chosen.states, chosen.qat, chosen.keep, chosen.litert, chosen.again, chosen.only,
                list(photos or calibration_samples()),
            )  # fmt: skip
            sets = [_cut(dataset(name), chosen.limit) for name in chosen.sets]
            document = run(_chosen(chosen.rows), sets, chosen.out, options)
        text = markdown(document)
        if chosen.readme:
            replace_section(chosen.readme, "quantization", text)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


def _chosen(names: Sequence[str] | None) -> list[Subject]:
    known = {subject.name: subject for subject in SUBJECTS}
    for name in names or ():
        if name not in known:
            raise UsageError(f"the table has no row `{name}`; it has {', '.join(known)}")
    return [known[name] for name in names or known]


def _cut(data: Dataset, limit: int | None) -> Dataset:
    """The first images, under a name that says so: part of a set is another set."""
    if limit is None or limit >= len(data):
        return data
    return Dataset(f"{data.name}[:{limit}]", data.paths[:limit])


if __name__ == "__main__":
    sys.exit(main())

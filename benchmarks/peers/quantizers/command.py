"""Our PTQ against ONNX Runtime's, NNCF's, the AI Edge Quantizer's and TensorFlow's.

    python -m edgesr.benchmarks.peers.quantizers --cache ~/.cache/edgesr-peers --work out/quantizers

Same weights, same calibration photos, same test images; whole images, since every file can be
resized. Rows whose weights, photos, scripts and code did not change are kept.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgesr.benchmarks.documents import Document, read_document, write_document
from edgesr.benchmarks.machine import this_machine
from edgesr.benchmarks.markdown import replace_section, table
from edgesr.benchmarks.peers.quantizers.compare import OURS, QUANTIZERS, compare
from edgesr.benchmarks.quality import PROTOCOL
from edgesr.benchmarks.subjects import SUBJECTS

from edgesr.data.datasets import Dataset, calibration_samples, dataset
from edgesr.errors import BadFileError, EdgesrError, UsageError

RESULT = Path(__file__).parents[2] / "results" / "quantizers.json"
VERSION = 1
NETWORKS = (
    "plain-m-x3", "ncnet-x3", "xlsr-x3 published", "quicksrnet-small-x2", "imdn-x4",
    "edsr-f32b5-x2",
)  # fmt: skip
COLUMNS = {
    "network": "network", "set": "set", "tool": "tool", "fp32": "fp32 dB", "mean": "int8 dB",
    "drop": "drop", "fidelity": "vs fp32 dB", "float": "operators left in float",
    "seconds": "s", "note": "note",
}  # fmt: skip


def markdown(document: Document) -> str:
    """The table; a tool that loses less than ours is bold."""
    rows = document["rows"]
    ours = {(row["network"], row["set"]): row for row in rows if row["tool"] == OURS}
    flat = [_flat(row, ours.get((row["network"], row["set"]))) for row in rows]
    versions = {k: v for row in rows for k, v in row.get("versions", {}).items()}
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    dates = sorted({row["date"][:10] for row in rows if "date" in row})
    when = " to ".join(dict.fromkeys(dates[:1] + dates[-1:])) or "never"
    return (
        f"{table(flat, COLUMNS)}\n{document['protocol']}. Every tool got the same "
        f"{document['calibration_images']} photos, ours no more. Drop in dB against the same "
        f"network in fp32; **bold**: better than ours. Measured {when} with {told}.\n"
    )


def _flat(row: dict[str, Any], ours: dict[str, Any] | None) -> dict[str, Any]:
    flat = {key: row.get(key) for key in ("network", "set", "tool", "fp32", "mean")}
    flat["note"] = row.get("error") or row.get("note")
    if "drop" not in row:
        return flat
    drop, fidelity = row["drop"], row["against_fp32"] or math.inf
    flat["drop"], flat["fidelity"] = f"{drop:.3f}", f"{fidelity:.1f}"
    if ours is not None and drop < ours["drop"]:
        flat["drop"] = f"**{drop:.3f}**"
    if ours is not None and fidelity > (ours["against_fp32"] or math.inf):
        flat["fidelity"] = f"**{fidelity:.1f}**"
    left = row["float_operators"]
    flat["float"] = ", ".join(f"{n} {kind}" for kind, n in left.items()) if left else "none"
    return flat | {"seconds": round(row["seconds"], 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.peers.quantizers",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--tools", nargs="*", default=[q.name for q in QUANTIZERS])
    parser.add_argument("--sets", nargs="+", default=["set14"])
    parser.add_argument("--limit", type=int, help="images of each set")
    parser.add_argument("--cache", type=Path, help="the peers' environments")
    parser.add_argument("--work", type=Path, required=True, help="the tools' files, kept")
    parser.add_argument("--states", type=Path, help="folder of training runs, NAME/state.pt")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, measure nothing")
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON, extended")
    chosen = parser.parse_args(arguments)
    try:
        document = read_document(chosen.out, VERSION) if chosen.markdown else _run(chosen)
        text = markdown(document)
        if chosen.readme:
            replace_section(chosen.readme, "quantizers", text)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


def _run(chosen: argparse.Namespace) -> Document:
    subjects = {subject.name: subject for subject in SUBJECTS}
    for name in chosen.networks:
        if name not in subjects:
            raise UsageError(f"no network is called `{name}`; there are {', '.join(subjects)}")
    tools = [q for q in QUANTIZERS if q.name in chosen.tools]
    photos = list(calibration_samples())
    sets = [dataset(name) for name in chosen.sets]
    if chosen.limit:
        sets = [Dataset(f"{d.name}[:{chosen.limit}]", d.paths[: chosen.limit]) for d in sets]
    document = read_document(chosen.out, VERSION)
    for name in chosen.networks:
        known = [row for row in document["rows"] if row["network"] == name]
        try:
            rows = compare(
                subjects[name], tools, sets, photos, known,
                environments=chosen.cache, work=chosen.work, states=chosen.states,
            )  # fmt: skip
        except BadFileError as error:
            sys.stderr.write(f"{name} is left out: {error}\n")
            continue
        made = {(row["tool"], row["set"]) for row in rows}
        kept = [row for row in known if (row["tool"], row["set"]) not in made]
        others = [row for row in document["rows"] if row["network"] != name]
        document = _document([*others, *kept, *rows], len(photos))
        write_document(document, chosen.out)
    return document


def _document(rows: Sequence[dict[str, Any]], photos: int) -> Document:
    networks = [subject.name for subject in SUBJECTS]
    tools = [OURS, *(quantizer.name for quantizer in QUANTIZERS)]

    def place(row: dict[str, Any]) -> tuple[int, str, int]:
        return networks.index(row["network"]), row["set"], tools.index(row["tool"])

    return {
        "version": VERSION,
        "command": "python -m edgesr.benchmarks.peers.quantizers",
        "protocol": PROTOCOL,
        "calibration_images": photos,
        "machine": asdict(this_machine()),
        "rows": sorted(rows, key=place),
    }

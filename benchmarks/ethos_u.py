"""Which spelling does an Ethos-U run fastest? Every shipped network, in every form, through Vela.

    python -m edgesr.benchmarks.ethos_u [--npus u55-256 ...] [--networks plain-m-x3 ...]

int8, 360x640. Figures are Vela's estimates; operators left on the CPU are not in them, so that the
best form is the fastest of those that leave the fewest there. `edgesr/targets/ethos_u.py` follows
`results/ethos_u.json`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from edgesr.benchmarks.documents import Document, read_document, write_document
from edgesr.benchmarks.machine import this_machine
from edgesr.benchmarks.markdown import replace_section, table
from edgesr.export.compile import vela
from edgesr.export.lower import lower
from edgesr.export.tflite import write
from edgesr.quantize import quantize
from torch import fx

from edgesr.collapse import collapse
from edgesr.data.datasets import calibration_samples
from edgesr.errors import EdgesrError
from edgesr.models import intake
from edgesr.targets import INT8_FORMS, Shuffle, find_target

RESULT = Path(__file__).parent / "results" / "ethos_u.json"
VERSION = 1
HEIGHT, WIDTH = 360, 640
NPUS = ("u55-256", "u65-512", "u85-512", "u85-2048")
ANCHORS: tuple[Literal["conv", "concat", "resize"], ...] = ("conv", "concat", "resize")
SHUFFLES: tuple[Shuffle, ...] = ("rows", "codes")
_WORDS = {
    "conv": "1x1 convolution", "concat": "concat", "resize": "resize and add", "none": "none",
    "rows": "by rows", "codes": "DEPTH_TO_SPACE",
}  # fmt: skip

Row = dict[str, Any]


def measure(name: str, npus: Sequence[str]) -> Iterator[Row]:
    """Vela's estimates for one network, in every form, on every NPU."""
    plain, _ = collapse(intake.load(name))
    assert isinstance(plain.module, fx.GraphModule)
    photo = next(iter(calibration_samples()))
    known: set[str] = set()
    for anchor in ANCHORS:
        lowered = lower(plain.module, replace(INT8_FORMS, anchor=anchor))
        code = lowered.code
        if code in known:
            continue  # no skip that could be spelled otherwise
        known.add(code)
        quantized = quantize(lowered, plain, [photo])
        for shuffle in SHUFFLES:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.tflite"
                write(quantized, plain, path, HEIGHT, WIDTH, io="int8", shuffle=shuffle)
                for npu in npus:
                    compiled = vela.compile_file(path, f"ethos-{npu}", Path(folder))
                    on_cpu = list(compiled.placement.on_cpu or ())
                    yield {
                        "network": name, "anchor": anchor, "shuffle": shuffle, "npu": npu,
                        **compiled.estimate, "on_cpu": on_cpu, "reasons": dict(compiled.reasons),
                        "tool": compiled.tool, "label": compiled.label,
                        "date": datetime.now(UTC).isoformat(timespec="seconds"),
                    }  # fmt: skip


def best(rows: Sequence[Row]) -> Row:
    """Of one network on one NPU: the fastest of those that leave the fewest to the CPU."""
    return min(rows, key=lambda row: (len(row["on_cpu"]), row["ms"]))


def markdown(document: Document) -> str:
    """A row per network and form, a column per NPU; the best form of each is bold."""
    rows, npus = document["rows"], list(dict.fromkeys(row["npu"] for row in document["rows"]))
    chosen = [
        best([row for row in rows if (row["network"], row["npu"]) == key])
        for key in dict.fromkeys((row["network"], row["npu"]) for row in rows)
    ]
    lines = []
    for key in dict.fromkeys((row["network"], row["anchor"], row["shuffle"]) for row in rows):
        mine = [r for r in rows if (r["network"], r["anchor"], r["shuffle"]) == key]
        line = {"network": key[0], "anchor": _anchor(mine[0], rows), "shuffle": _WORDS[key[2]]}
        for row in mine:
            line[row["npu"]] = f"**{row['ms']:.1f}**" if row in chosen else f"{row['ms']:.1f}"
        lines.append(line | {"on_cpu": _left(mine)})
    columns = {"network": "network", "anchor": "skip", "shuffle": "shuffle"}
    columns |= {npu: f"{npu.upper()} ms" for npu in npus} | {"on_cpu": "left on the CPU"}
    tools = ", ".join(sorted({row["tool"] for row in rows}))
    return (
        f"{table(lines, columns)}\nEstimates of {tools} for int8 files, "
        f"{document['height']}x{document['width']}, int8 at both ends; what is left on the CPU is "
        "not in them. **Bold**: the fastest form that leaves the least there.\n"
    )


def _anchor(row: Row, rows: Sequence[Row]) -> str:
    forms = {other["anchor"] for other in rows if other["network"] == row["network"]}
    return _WORDS[row["anchor"] if len(forms) > 1 else "none"]


def _left(rows: Sequence[Row]) -> str:
    """Operators left on the CPU; of which NPUs, unless of all."""
    told = []
    for kind in dict.fromkeys(kind for row in rows for kind in row["on_cpu"]):
        npus = [row["npu"].upper() for row in rows if kind in row["on_cpu"]]
        told.append(kind if len(npus) == len(rows) else f"{kind} ({', '.join(npus)})")
    return ", ".join(told) or "nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.ethos_u", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--networks", nargs="+", default=list(intake.shipped_names()))
    parser.add_argument("--npus", nargs="+", default=list(NPUS))
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON; networks measured replaced")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, measure nothing")
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    chosen = parser.parse_args(arguments)
    try:
        document = read_document(chosen.out, VERSION)
        if not chosen.markdown:
            for npu in chosen.npus:
                find_target(f"ethos-{npu}")
            document = _run(chosen, document)
        text = markdown(document)
        if chosen.readme:
            replace_section(chosen.readme, "ethos-u", text)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


def _run(chosen: argparse.Namespace, document: Document) -> Document:
    for name in chosen.networks:
        kept = [row for row in document["rows"] if row["network"] != name]
        document = {
            "version": VERSION,
            "command": "python -m edgesr.benchmarks.ethos_u",
            "height": HEIGHT,
            "width": WIDTH,
            "machine": asdict(this_machine()),
            "rows": sorted([*kept, *measure(name, chosen.npus)], key=lambda row: row["network"]),
        }
        write_document(document, chosen.out)
    return document


if __name__ == "__main__":
    sys.exit(main())

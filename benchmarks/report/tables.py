"""The tables of the report as plain values; the template only lays them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgesr.benchmarks.report.entries import Book, Entry, belongs
from edgesr.benchmarks.report.numbers import number
from edgesr.benchmarks.results import PHASES

Cells = dict[str, Any]

_INT8 = ("ptq", "split", "qat")
_RUN_OF = ("fp32", *_INT8)
"""Columns of the quantization table that are ours; others are files by the networks' authors."""


def main_dataset(book: Book) -> str:
    """The set of images on which most files were judged; empty if none was."""
    counts = Counter(grade.dataset for entry in book.entries for grade in entry.grades)
    return counts.most_common(1)[0][0] if counts else ""


def overview(book: Book) -> list[Cells]:
    """One row per row of the results: how fast, how good, how much of the machine."""
    dataset = main_dataset(book)
    return [_line(entry, dataset) for entry in book.entries]


def _line(entry: Entry, dataset: str) -> Cells:
    row, result = entry.row, entry.result
    summary = row.summary if row.samples else None
    grade = next((g for g in entry.grades if g.dataset == dataset), None)
    return {
        "entry": entry,
        "median": summary.median if summary else None,
        "p90": summary.p90 if summary else None,
        "spread": summary.spread if summary else None,
        "runs": summary.runs if summary else 0,
        "estimate": entry.estimated_ms,
        "megapixel": row.ms_per_megapixel,
        "rate": row.rate,
        "share": result.share_of_peak(row),
        "memory": row.memory.increase_mb if row.memory else None,
        "kib": entry.size / 1024 if entry.size else None,
        "grade": grade,
        "parity": row.parity.describe() if row.parity else None,
        "label": row.label,
    }


@dataclass(frozen=True)
class Residency:
    """Where the operators of one file ran.

    Attributes:
        on_device: how many, where that was told.
        on_cpu: name to how often, of those left to a CPU.
        share: of operators on the device, 0 to 1.
        reasons: why an operator was left, by its name.
    """

    entry: Entry
    verdict: str
    on_device: int | None
    on_cpu: dict[str, int]
    share: float | None
    reasons: dict[str, str]


def residencies(book: Book) -> list[Residency]:
    """One per row whose device said something."""
    return [_residency(entry) for entry in book.entries if entry.row.placement is not None]


def _residency(entry: Entry) -> Residency:
    placement = entry.row.placement
    assert placement is not None
    left = dict(Counter(map(str, placement.on_cpu or ())))
    taken = number(placement.on_device)
    share = None
    if placement.full:
        share = 1.0
    elif taken is not None and placement.on_cpu is not None:
        share = taken / max(taken + sum(left.values()), 1)
    told = entry.row.facts.get("reasons")
    reasons = {str(k): str(v) for k, v in told.items()} if isinstance(told, dict) else {}
    whole = None if taken is None else int(taken)
    return Residency(entry, placement.describe(), whole, left, share, reasons)


def phases(book: Book) -> tuple[list[str], list[Cells]]:
    """Names of the phases that anybody measured, and one row per row that has some."""
    rows = [
        {"entry": entry, **{name: entry.row.phases.get(name) for name in PHASES}}
        for entry in book.entries
        if entry.row.phases
    ]
    return [name for name in PHASES if any(row[name] is not None for row in rows)], rows


def columns(book: Book) -> tuple[list[str], list[Cells]]:
    """The steps from fp32 to the file, and for every file and set of images what they cost."""
    named: dict[str, None] = {}
    rows = []
    for judged in book.inputs.quality:
        if not isinstance(judged.psnr, dict) or not isinstance(judged.against_float, dict):
            continue
        named |= dict.fromkeys(map(str, judged.psnr))
        timed = [e.name for e in book.entries if belongs(judged, e.row)]
        rows.append({
            "name": timed[0] if timed else f"{judged.network} {judged.precision}",
            "artifact": judged.artifact, "dataset": judged.dataset, "images": judged.images,
            "own": judged.column, "bicubic": number(judged.bicubic),
            "cells": {
                str(column): {
                    "db": number(db), "known": column in judged.against_float,
                    "against": number(judged.against_float.get(column)),
                }
                for column, db in judged.psnr.items()
            },
            "worst": judged.worst_image, "worst_drop": number(judged.worst_drop),
            "runs_in": judged.runs_in if isinstance(judged.runs_in, dict) else {},
        })  # fmt: skip
    return list(named), rows


def quantization(book: Book) -> list[Cells]:
    """The quantization table: every network and set, drops judged against their budget."""
    from edgesr.benchmarks.subjects import BUDGETS

    rows = []
    for document in book.inputs.quantization:
        for line, dataset, cells in _measured(document):
            budget = BUDGETS.get(line.get("group"))  # type: ignore[arg-type]
            row: Cells = {
                "network": line.get("network"), "dataset": dataset,
                "fp32": number(_of(cells, "fp32").get("mean")), "published": [],
            }  # fmt: skip
            for kind in _INT8:
                allowed = getattr(budget, "qat" if kind == "qat" else "ptq") if budget else None
                row[kind] = _quantized(_of(cells, kind), allowed) if kind in cells else None
            for kind in cells:
                if kind not in _RUN_OF:
                    row["published"].append((kind, _quantized(_of(cells, kind), None)))
            rows.append(row)
    return rows


def _quantized(cell: Cells, allowed: float | None) -> Cells:
    drop = number(cell.get("drop"))
    return {
        "db": number(cell.get("mean")),
        "drop": drop,
        "against": number(cell.get("against_fp32")),
        "beyond": drop is not None and allowed is not None and drop > allowed,
    }


def _measured(document: dict[str, Any]) -> Iterator[tuple[Cells, str, Cells]]:
    for line in document["rows"]:
        sets = line.get("sets") if isinstance(line, dict) else None
        for dataset, cells in (sets if isinstance(sets, dict) else {}).items():
            if isinstance(cells, dict):
                yield line, str(dataset), cells


def _of(cells: Cells, kind: str) -> Cells:
    cell = cells.get(kind)
    return cell if isinstance(cell, dict) else {}


def certificates(book: Book) -> list[Cells]:
    """What the collapse proved, once per certificate."""
    found: list[Cells] = []
    for entry in book.entries:
        proof = entry.row.manifest.get("certificate")
        if not isinstance(proof, dict) or not proof:
            continue
        network = str(entry.row.manifest.get("network") or entry.row.artifact)
        shown = {
            "network": network, "exact": proof.get("exact") is True,
            **{key: number(proof.get(key)) for key in (
                "interior", "border", "rounding", "convs_before", "convs_after", "macs_before",
                "macs_after", "parameters_before", "parameters_after", "band",
            )},
            **{key: [str(item) for item in proof[key]] if isinstance(proof.get(key), list) else []
               for key in ("rules", "images", "kept", "notes")},
        }  # fmt: skip
        if shown not in found:
            found.append(shown)
    return found


def packages(book: Book) -> list[tuple[str, list[str]]]:
    """Package to the versions that the runs had, several where they differ."""
    versions: dict[str, dict[str, None]] = {}
    for timing in book.inputs.timings:
        machine = timing.result.machine
        told = machine.packages if isinstance(machine.packages, dict) else {}
        for name, version in {"python": machine.python, **told}.items():
            versions.setdefault(str(name), {})[str(version)] = None
    return [(name, list(found)) for name, found in versions.items()]


def protocols(book: Book) -> list[str]:
    """Every protocol that a figure of dB in the report was taken with."""
    told = [str(judged.protocol) for judged in book.inputs.quality]
    told += [str(document.get("protocol", "")) for document in book.inputs.quantization]
    return [text for text in dict.fromkeys(told) if text]


def warnings(book: Book) -> list[str]:
    """Reasons not to quote the latencies, of all runs."""
    said = [text for timing in book.inputs.timings for text in timing.result.warnings()]
    return list(dict.fromkeys(map(str, said)))

"""The rows of all results, joined with what is known of their files' quality, under short names."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesr.benchmarks.machine import Machine
from edgesr.benchmarks.report.inputs import Inputs, Timing
from edgesr.benchmarks.report.numbers import number
from edgesr.benchmarks.results import BenchResult, Row
from edgesr.benchmarks.suite.result import Quality

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TABLE_CELLS = {"fp32": "fp32", "int8": "ptq"}
"""Precision of a file to the column of the quantization table that stands for it."""


@dataclass(frozen=True)
class Grade:
    """PSNR of a file on a set of images.

    Attributes:
        db: mean over the images, against the originals.
        drop: dB lost against the float network; None where unknown.
        dataset, protocol: what was compared, and how.
        borrowed: the figure is of the same network in the same precision in the quantization
            table, not of this very file.
    """

    db: float
    drop: float | None
    dataset: str
    protocol: str
    borrowed: bool = False


@dataclass(frozen=True)
class Entry:
    """One row with everything the report says about it.

    Attributes:
        name: of the file, as short as it can be told from the others.
        place: device, threads, and the machine's letter where there are several.
        machine: index into `Book.machines`.
    """

    row: Row
    timing: Timing
    name: str
    place: str
    machine: int
    grades: tuple[Grade, ...]

    @property
    def result(self) -> BenchResult:
        """The run the row belongs to."""
        return self.timing.result

    @property
    def measured_ms(self) -> float | None:
        """Median of the samples."""
        return self.row.summary.median if self.row.samples else None

    @property
    def estimated_ms(self) -> float | None:
        """A compiler's estimate."""
        found = number(self.row.estimate.get("ms"))
        return found if found is not None and found > 0 else None

    @property
    def size(self) -> int | None:
        """Bytes of the file."""
        found = number(self.row.manifest.get("size"))
        return int(found) if found and found > 0 else None

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates per byte that the operators read and write."""
        macs, moved = self.row.macs, self.row.bytes_moved
        return macs / moved if macs and moved else None


@dataclass(frozen=True)
class Book:
    """Everything, in the order of the report."""

    inputs: Inputs
    machines: tuple[Machine, ...]
    """Those that differ in more than their packages."""
    entries: tuple[Entry, ...]

    @property
    def places(self) -> list[str]:
        """Where rows ran, in order; the same place has the same colour on every chart."""
        return list(dict.fromkeys(entry.place for entry in self.entries))

    @property
    def hashes(self) -> dict[str, set[str]]:
        """Network to the hashes of its files."""
        found: dict[str, set[str]] = {}
        for entry in self.entries:
            network = str(entry.row.manifest.get("network") or entry.row.artifact)
            found.setdefault(network, set()).add(entry.row.sha256)
        return found

    def different_machines(self) -> list[str]:
        """A warning where there are several."""
        if len(self.machines) < 2:
            return []
        return [
            f"these results come from {len(self.machines)} machines; their latencies must not be "
            "compared with each other"
        ]

    def letter(self, machine: int) -> str:
        """`A`, `B`, ...; empty where there is only one machine."""
        return letter_of(machine) if len(self.machines) > 1 else ""


def letter_of(index: int) -> str:
    """`A` to `Z`, then `A1` and so on."""
    again = index // len(_LETTERS)
    return _LETTERS[index % len(_LETTERS)] + (str(again) if again else "")


def make_book(inputs: Inputs) -> Book:
    """Join and name everything."""
    machines: list[Machine] = []
    where: list[int] = []
    for timing in inputs.timings:
        bare = dataclasses.replace(timing.result.machine, packages={}, python="")
        if bare not in machines:
            machines.append(bare)
        where.append(machines.index(bare))
    found = [
        (row, timing, machine)
        for timing, machine in zip(inputs.timings, where, strict=True)
        for row in timing.result.rows
    ]
    places = [_place(row, machine, len(machines)) for row, _, machine in found]
    names = short_names([row for row, _, _ in found], places)
    entries = (
        Entry(row, timing, name, place, machine, tuple(_grades(row, inputs)))
        for (row, timing, machine), name, place in zip(found, names, places, strict=True)
    )
    return Book(inputs, tuple(machines), tuple(entries))


def model_name(row: Row) -> str:
    """Network and precision."""
    return f"{row.manifest.get('network') or row.artifact} {row.precision}"


def short_names(rows: Sequence[Row], places: Sequence[str]) -> list[str]:
    """Network and precision, and of runtime, size, ends, kind of file and hash what is needed to
    tell apart the rows of one place; rows that still look the same are numbered."""
    steps: tuple[Callable[[Row], str], ...] = (
        model_name,
        lambda row: str(row.runtime),
        lambda row: f"{row.height}x{row.width}",
        lambda row: f"{row.manifest.get('dtype', '?')} ends",
        lambda row: f"from {Path(row.artifact).suffix or 'torch'}",
        lambda row: str(row.sha256)[:6],
    )
    names = [steps[0](row) for row in rows]
    for step in steps[1:]:
        counts = Counter(zip(names, places, strict=True))
        told: dict[tuple[str, str], set[str]] = {}
        for key, row in zip(zip(names, places, strict=True), rows, strict=True):
            told.setdefault(key, set()).add(step(row))
        names = [
            f"{name}, {step(row)}"
            if counts[name, place] > 1 and len(told[name, place]) > 1
            else name
            for name, place, row in zip(names, places, rows, strict=True)
        ]
    return list(_numbered(names, places))


def _numbered(names: Sequence[str], places: Sequence[str]) -> Iterator[str]:
    counts = Counter(zip(names, places, strict=True))
    seen: Counter[tuple[str, str]] = Counter()
    for key in zip(names, places, strict=True):
        seen[key] += 1
        yield f"{key[0]} (run {seen[key]})" if counts[key] > 1 else key[0]


def _place(row: Row, machine: int, machines: int) -> str:
    threads = f", {row.threads} thread{'s' if row.threads != 1 else ''}"
    told = "" if row.label == "measured" else f" ({row.label})"
    where = f", machine {letter_of(machine)}" if machines > 1 else ""
    return f"{row.device}{threads if row.label == 'measured' else ''}{where}{told}"


def _grades(row: Row, inputs: Inputs) -> Iterator[Grade]:
    own = list(dict.fromkeys(_own_grades(row, inputs.quality)))
    yield from own
    known = {grade.dataset for grade in own}
    for document in inputs.quantization:
        yield from (g for g in _borrowed(row, document) if g.dataset not in known)


def _own_grades(row: Row, quality: Sequence[Quality]) -> Iterator[Grade]:
    for judged in quality:
        if not belongs(judged, row):
            continue
        db = number(judged.psnr.get(judged.column)) if isinstance(judged.psnr, dict) else None
        if db is not None:
            first = number(next(iter(judged.psnr.values())))
            drop = None if first is None else first - db
            yield Grade(db, drop, str(judged.dataset), str(judged.protocol))


def belongs(judged: Quality, row: Row) -> bool:
    """Whether this is the quality of the file that `row` ran: by hash; by name without hashes."""
    if judged.sha256 and row.sha256:
        return judged.sha256 == row.sha256
    return bool(judged.artifact) and judged.artifact == row.artifact


def _borrowed(row: Row, document: dict[str, Any]) -> Iterator[Grade]:
    column = _TABLE_CELLS.get(row.precision)
    network = row.manifest.get("network") or row.artifact
    for line in document["rows"]:
        if column is None or not isinstance(line, dict) or line.get("network") != network:
            continue
        sets = line.get("sets")
        for dataset, cells in (sets if isinstance(sets, dict) else {}).items():
            cell = cells.get(column) if isinstance(cells, dict) else None
            db = number(cell.get("mean")) if isinstance(cell, dict) else None
            if db is not None and isinstance(cell, dict):
                drop = 0.0 if column == "fp32" else number(cell.get("drop"))
                yield Grade(db, drop, str(dataset), str(document.get("protocol", "")), True)

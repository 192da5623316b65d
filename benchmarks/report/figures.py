"""The charts of a report: which rows stand on which, and what is written below them.

Latencies of different machines, and quality on different images, never share a chart. Estimates
share one with measurements of the same machine, hollow and with a dashed front.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgesr.benchmarks.report.distribution import Strip, distribution_chart
from edgesr.benchmarks.report.entries import Book, Entry, model_name
from edgesr.benchmarks.report.numbers import number
from edgesr.benchmarks.report.pareto import Bubble, pareto_chart
from edgesr.benchmarks.report.roofline import Roof, Work, roofline_chart
from edgesr.benchmarks.report.theme import SERIES

_Group = tuple[int, float, int, int, str, str]
"""Machine, scale, input height and width, set of images, protocol."""

WIDE, NARROW = 880.0, 330.0
"""Widths charts are drawn for: a desk and a phone; each with letters of the same size."""


@dataclass(frozen=True)
class Key:
    """One line of a legend."""

    colour: int
    name: str
    estimated: bool = False


@dataclass(frozen=True)
class Figure:
    """One chart.

    Attributes:
        slug: file name of its plot, without suffix.
        heading: what tells it from other charts of its kind; may be empty.
        wide, narrow: SVG for a desk and for a phone.
        legend: colours and what they mean.
        notes: sentences below.
    """

    slug: str
    heading: str
    wide: str
    narrow: str
    legend: tuple[Key, ...]
    notes: tuple[str, ...] = ()


def pareto_figures(book: Book) -> list[Figure]:
    """dB against ms, one figure per machine, scale, input size, set of images and protocol."""
    groups: dict[_Group, list[tuple[Bubble, bool]]] = {}
    models = {model_name(entry.row) for entry in book.entries}
    for entry in book.entries:
        row = entry.row
        ms = entry.measured_ms or entry.estimated_ms
        for grade in entry.grades:
            if ms is None:
                continue
            estimated = entry.measured_ms is None
            bubble = Bubble(
                ms, grade.db, entry.size, _told_apart(entry, len(models)), entry.place,
                colour_of(book, entry.place), estimated,
            )  # fmt: skip
            key = (entry.machine, row.scale, row.height, row.width, grade.dataset, grade.protocol)
            groups.setdefault(key, []).append((bubble, grade.borrowed))
    figures = []
    for index, (group, members) in enumerate(groups.items(), 1):
        machine, scale, height, width, dataset, protocol = group
        bubbles = [bubble for bubble, _ in members]
        notes = [f"{dataset}: {protocol}." if protocol else ""]
        if any(borrowed for _, borrowed in members):
            notes.append(
                "dB of the same network and precision in the quantization table (int8: PTQ), not "
                "of these very files."
            )
        heading = f"x{scale:g}, {width}x{height} in, {dataset}{_on(book, machine)}"
        tall = 420.0 if len(bubbles) > 3 else 340.0
        figures.append(
            Figure(
                f"pareto-{index}", heading,
                pareto_chart(bubbles, width=WIDE, height=tall, title=f"PSNR against ms, {heading}"),
                pareto_chart(bubbles, width=NARROW, height=tall * 0.85, title=f"PSNR, {heading}"),
                _legend(book, [(b.place, b.estimated) for b in bubbles]),
                tuple(note for note in notes if note),
            )
        )  # fmt: skip
    return figures


def roofline_figures(book: Book) -> list[Figure]:
    """GMAC/s against MAC per byte, one figure per machine."""
    figures = []
    for machine in range(len(book.machines)):
        entries = [
            e for e in book.entries
            if e.machine == machine and e.row.device == "cpu" and e.row.rate and e.intensity
        ]  # fmt: skip
        works = [
            Work(e.intensity or 0, e.row.rate or 0, e.name, e.place, colour_of(book, e.place))
            for e in entries
        ]
        if not works:
            continue
        roofs = list(_roofs(entries))
        copies = [f"{roof.name} {roof.rate:.1f} GB/s" for roof in roofs if roof.copies]
        notes = [f"Sloping lines: {'; '.join(copies)}."] if copies else []
        if not copies:
            notes.append("The bandwidth of copies was not measured in these runs.")
        if not any(not roof.copies for roof in roofs):
            notes.append("The rate of matrix products was not measured in these runs.")
        heading = _on(book, machine).removeprefix(", ")
        title = f"roofline {heading}".strip()
        figures.append(
            Figure(
                f"roofline-{machine + 1}", heading,
                roofline_chart(works, roofs, width=WIDE, title=title),
                roofline_chart(works, roofs, width=NARROW, height=340, title=title),
                _legend(book, [(work.place, False) for work in works]), tuple(notes),
            )
        )  # fmt: skip
    return figures


def distribution_figures(book: Book) -> list[Figure]:
    """Every sample, one figure per machine; the fastest rows first."""
    figures = []
    for machine in range(len(book.machines)):
        entries = [e for e in book.entries if e.machine == machine and e.row.samples]
        if not entries:
            continue
        entries.sort(key=lambda entry: entry.row.summary.median)
        several = len({entry.place for entry in entries}) > 1
        strips = [
            Strip(
                f"{e.name}, {_short(e)}" if several else e.name,
                e.row.samples,
                colour_of(book, e.place),
            )
            for e in entries
        ]
        heading = _on(book, machine).removeprefix(", ")
        title = f"latency of every run {heading}".strip()
        figures.append(
            Figure(
                f"latency-{machine + 1}", heading,
                distribution_chart(strips, width=WIDE, title=title),
                distribution_chart(strips, width=NARROW, title=title),
                _legend(book, [(entry.place, False) for entry in entries]),
            )
        )  # fmt: skip
    return figures


def _roofs(entries: Sequence[Entry]) -> Iterator[Roof]:
    """The ceilings of the rows, the fastest of every kind."""
    found: dict[tuple[str, bool], float] = {}
    for entry in entries:
        peak, copy = entry.result.peak_for(entry.row), entry.result.copy_for(entry.row)
        threads = f"{entry.row.threads} thread{'s' if entry.row.threads != 1 else ''}"
        if peak is not None and number(peak.macs):
            key = (f"{peak.arithmetic} GEMM, {threads}", False)
            found[key] = max(peak.rate, found.get(key, 0))
        if copy is not None and number(copy.bytes):
            key = (f"copy, {threads}", True)
            found[key] = max(copy.rate, found.get(key, 0))
    return (Roof(rate, name, copies) for (name, copies), rate in found.items())


def colour_of(book: Book, place: str) -> int:
    """Its number among the colours; from the seventh place on colours repeat."""
    return book.places.index(place) % SERIES


def _legend(book: Book, places: Sequence[tuple[str, bool]]) -> tuple[Key, ...]:
    """Every place once, and whether it is a place of estimates."""
    once = sorted(dict(places).items(), key=lambda item: book.places.index(item[0]))
    return tuple(Key(colour_of(book, place), place, estimated) for place, estimated in once)


def _told_apart(entry: Entry, models: int) -> str:
    """Its name; where all are of one model, what is left of it, and the place."""
    if models > 1:
        return entry.name
    rest = entry.name.removeprefix(model_name(entry.row)).removeprefix(", ")
    return ", ".join(filter(None, (rest, _short(entry))))


def _on(book: Book, machine: int) -> str:
    letter = book.letter(machine)
    return f", machine {letter}" if letter else ""


def _short(entry: Entry) -> str:
    """The place without the machine, which the heading names."""
    return re.sub(r", machine [A-Z]\d*", "", entry.place)

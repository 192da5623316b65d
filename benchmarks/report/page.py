"""One self-contained page: style, script, charts and pictures inside, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgesr.benchmarks.report import tables
from edgesr.benchmarks.report.crops import Panel
from edgesr.benchmarks.report.entries import Book, letter_of
from edgesr.benchmarks.report.figures import (
    distribution_figures,
    pareto_figures,
    roofline_figures,
)
from edgesr.benchmarks.report.numbers import count, fixed, percent, significant, tiny
from edgesr.benchmarks.report.theme import DARK, LIGHT, TEMPLATES, chart_style, variables
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgesr.errors import OutputExistsError
from edgesr.manifest import write_atomically


def render(book: Book, panels: Sequence[Panel] = (), *, title: str = "") -> str:
    """The page as HTML. Every text from a result is escaped; charts escape theirs themselves."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        number=fixed, significant=significant, percent=percent, count=count, tiny=tiny, svg=Markup
    )
    phase_names, phase_rows = tables.phases(book)
    column_names, column_rows = tables.columns(book)
    dataset = tables.main_dataset(book)
    return environment.get_template("page.html").render(
        title=title or "What runs how fast, and how good it looks",
        light=Markup(variables(LIGHT)), dark=Markup(variables(DARK)),
        chart_style=Markup(chart_style()), script=Markup(_text("page.js")),
        style=Markup(_text("page.css")),
        book=book, letter=letter_of, dataset=dataset, overview=tables.overview(book),
        tiles=tiles(book, dataset), warnings=tables.warnings(book),
        pareto=pareto_figures(book), roofline=roofline_figures(book),
        latency=distribution_figures(book), phase_names=phase_names, phase_rows=phase_rows,
        residencies=tables.residencies(book), panels=panels,
        column_names=column_names, column_rows=column_rows,
        quantization=tables.quantization(book), certificates=tables.certificates(book),
        packages=tables.packages(book), protocols=tables.protocols(book),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )  # fmt: skip


def write_page(page: str, path: Path, *, force: bool = False) -> None:
    """Write it whole or not at all.

    Raises:
        OutputExistsError: the file is there and `force` is not given.
        EnvironmentLimitError: read-only folder, disk full.
    """
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; --force overwrites it")
    write_atomically(path, page.encode())


def tiles(book: Book, dataset: str) -> list[tuple[str, str, str]]:
    """Headline figures: heading, value, note."""
    found: list[tuple[str, str, str]] = []
    timed = [entry for entry in book.entries if entry.row.samples]
    if timed:
        fastest = min(timed, key=lambda entry: entry.row.summary.median)
        ms = f"{significant(fastest.measured_ms)} ms"
        found.append(("fastest, median", ms, f"{fastest.name}; {fastest.place}"))
    graded = [(g, e) for e in book.entries for g in e.grades if g.dataset == dataset]
    if graded and len({entry.row.scale for _, entry in graded}) == 1:
        best, entry = max(graded, key=lambda pair: pair[0].db)
        found.append(("best quality", f"{best.db:.2f} dB", f"{entry.name} on {best.dataset}"))
    drops = [(g.drop, e) for g, e in graded if g.drop is not None and "int8" in e.row.precision]
    if drops:
        drop, entry = max(drops, key=lambda pair: pair[0])
        found.append(("int8 loses at most", f"{drop:.3f} dB", f"{entry.name} on {dataset}"))
    shares = [(entry.result.share_of_peak(entry.row), entry) for entry in timed if entry.row.rate]
    known = [(share, entry) for share, entry in shares if share is not None and share <= 1]
    if known:
        share, entry = max(known, key=lambda pair: pair[0])
        found.append(("of the GEMM rate", f"{share:.0%}", f"{entry.name}; {entry.place}"))
    exact = [entry for entry in book.entries if entry.row.parity is not None]
    if exact:
        same = sum(e.row.parity.exact for e in exact if e.row.parity)
        found.append(("bit-exact on the device", f"{same} of {len(exact)}", "golden tile"))
    return found


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")

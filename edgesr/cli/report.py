"""`edgesr report`: results on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...",
            help="Files of `edgesr bench --out`, `edgesr bench --suite`, or quantization.json.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page, one HTML file.")] = Path("report.html"),
    artifacts: Annotated[
        Path | None,
        typer.Option(help="Folder of the exported files: enlarges a photo with them (seconds)."),
    ] = None,
    photo: Annotated[
        Path | None, typer.Option(help="Original for --artifacts; default: a shipped photo.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for the charts as SVG files, too.")
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="--plots: as PNG, too.")] = False,
    title: Annotated[str, typer.Option(help="Of the page.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Put results on one page: quality against time, roofline, latencies, operators, proofs.

    The page is one file without anything from elsewhere. Results that belong to the same artifact
    are joined by its hash. `edgesr report result.json benchmarks/results/quantization.json`
    """
    from edgesr.cli.output import progress, say
    from edgesr.errors import OutputExistsError, UsageError

    if png and plots is None:
        raise UsageError("--png draws the charts of --plots; name a folder with --plots FOLDER")
    if photo is not None and artifacts is None:
        raise UsageError("--photo is enlarged by artifacts; name their folder with --artifacts")
    if out.exists() and not force:
        raise OutputExistsError(f"{out} exists already; --force overwrites it")

    from edgesr.benchmarks.report import make_book, read_inputs, render, write_page
    from edgesr.benchmarks.report.plots import write_plots

    book = make_book(read_inputs(results))
    panels = []
    if artifacts is not None:
        from edgesr.benchmarks.report.crops import make_panels

        with progress("crops", None) as (bar, task):
            panels = make_panels(
                artifacts,
                book.hashes,
                photo=photo,
                say=lambda text: bar.update(task, description=text),
            )
        if not panels:
            say(f"edgesr: {artifacts} holds no artifact of these results, so there are no crops")
    page = render(book, panels, title=title)
    charts = write_plots(book, plots, png=png, force=force) if plots else []
    write_page(page, out, force=force)
    for warning in book.different_machines():
        say(f"edgesr: {warning}")
    say(f"wrote {out}" + (f" and {len(charts)} plots in {plots}" if charts else ""))

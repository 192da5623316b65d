"""The charts as files: SVG that stands alone, and PNG of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesr.benchmarks.report.entries import Book
from edgesr.benchmarks.report.figures import (
    Figure,
    distribution_figures,
    pareto_figures,
    roofline_figures,
)
from edgesr.benchmarks.report.theme import LIGHT, standalone

from edgesr.errors import EnvironmentLimitError, OutputExistsError
from edgesr.manifest import write_atomically

ZOOM = 2
"""Pixels of a PNG per unit of the SVG: sharp in a paper and on a phone."""
INSTALL = 'pip install "edgesr[plots]"'


def write_plots(book: Book, folder: Path, *, png: bool = False, force: bool = False) -> list[Path]:
    """Write every chart as SVG, and as PNG too.

    Returns:
        The files.

    Raises:
        OutputExistsError: one is there and `force` is not given; none is written.
        EnvironmentLimitError: PNG without the package that draws it, or the folder is read-only.
    """
    if png:
        _renderer()
    figures: list[Figure] = [
        *pareto_figures(book), *roofline_figures(book), *distribution_figures(book)
    ]  # fmt: skip
    written: dict[Path, bytes] = {}
    for figure in figures:
        svg = standalone(figure.wide)
        written[folder / f"{figure.slug}.svg"] = svg.encode()
        if png:
            written[folder / f"{figure.slug}.png"] = to_png(svg)
    for path in written:
        if path.exists() and not force:
            raise OutputExistsError(f"{path} exists already; --force overwrites it")
    for path, content in written.items():
        write_atomically(path, content)
    return list(written)


def to_png(svg: str) -> bytes:
    """A standalone SVG as pixels, drawn by resvg.

    Raises:
        EnvironmentLimitError: resvg is not installed.
    """
    drawn: bytes = bytes(_renderer()(svg_string=svg, zoom=ZOOM, background=LIGHT["card"]))
    return drawn


def _renderer() -> Callable[..., Any]:
    try:
        draw: Callable[..., Any] = importlib.import_module("resvg_py").svg_to_bytes
        return draw
    except ImportError as error:
        raise EnvironmentLimitError(
            f"PNG needs resvg, which is not installed: {INSTALL}; SVG files need nothing"
        ) from error

"""Tables, JSON and progress bars, the same for every command."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

Row = Mapping[str, Any]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def show_table(
    rows: Sequence[Row],
    columns: Mapping[str, str] | None = None,
    *,
    title: str = "",
    footer: str = "",
    as_json: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Print rows as a table, or as one JSON object on standard output.

    Args:
        rows: one mapping per row.
        columns: key to heading; None takes the keys of the first row.
        title, footer: above and below the table (the protocol of a PSNR goes below).
        as_json: print `{"rows": [...], **extra}` instead, with every key of every row.
    """
    if as_json:
        show_json({"rows": [dict(row) for row in rows], **(extra or {})})
        return
    from rich.console import Console
    from rich.table import Table

    headings = columns or {key: key for key in (rows[0] if rows else {})}
    table = Table(title=title or None, title_justify="left")
    for key, heading in headings.items():
        numeric = any(isinstance(row.get(key), (int, float)) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in headings))
    # A pipe has no width; a table squeezed into 80 columns cannot be read or grepped.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    if footer:
        console.print(footer, highlight=False)


def show_json(value: Any) -> None:
    """Print one JSON document; infinities become null, paths become strings."""

    def plain(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {str(key): plain(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(inner) for inner in item]
        if isinstance(item, float) and not math.isfinite(item):
            return None
        if item is None or isinstance(item, (str, int, float, bool)):
            return item
        return str(item)

    sys.stdout.write(json.dumps(plain(value), indent=2) + "\n")


def say(text: str) -> None:
    """One line to standard error, so that standard output stays a table, JSON or an image."""
    from rich.console import Console

    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[tuple[Progress, Any]]:
    """A bar with the time left, on standard error; silent when that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft(),
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
    )  # fmt: skip
    with bar:
        yield bar, bar.add_task(description, total=total)

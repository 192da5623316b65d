"""Tables of results in Markdown, and the sections of a document that commands rewrite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesr.errors import UsageError
from edgesr.manifest import write_atomically


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows under the headings of `columns`; figures to the right.

    Args:
        rows: texts and numbers by key; a missing one is left blank.
        columns: key to heading.
    """
    sides = [
        "---:" if any(isinstance(row.get(key), (int, float)) for row in rows) else "---"
        for key in columns
    ]
    lines = [" | ".join(columns.values()), " | ".join(sides)]
    lines += [" | ".join(_cell(row.get(key)) for key in columns) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def replace_section(path: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises:
        UsageError: the file has no such section.
    """
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError(f"{path} has no section between `{begin.strip()}` and `{end}`")
    write_atomically(path, f"{before}{begin}\n{text}\n{end}{after}".encode())

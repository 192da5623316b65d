"""The result as CSV: one line per row, for spreadsheets."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from edgesr.benchmarks.suite.result import SuiteResult

from edgesr.manifest import write_atomically


def write_csv(result: SuiteResult, path: Path) -> None:
    """Write `SuiteResult.table`, whole or not at all.

    Raises:
        EnvironmentLimitError: it cannot be written.
    """
    rows = result.table()
    columns = dict.fromkeys(key for row in rows for key in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())

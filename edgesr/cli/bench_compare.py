"""`edgesr bench compare`: a gate for continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_COLUMNS = {
    "what": "what", "before": "before", "after": "after", "unit": "", "change": "change",
    "interval": "95 % interval", "verdict": "verdict", "noisy": "noisy",
}  # fmt: skip


def compare_command(
    before: Annotated[Path, typer.Argument(metavar="A", help="Result to be held to.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Result to judge.")],
    max_slowdown: Annotated[
        str, typer.Option(help="How much slower a median may be: 5%, or 0.05.")
    ] = "5%",
    max_drop: Annotated[float, typer.Option(help="dB of PSNR that may be lost.")] = 0.03,
    any_machine: Annotated[
        bool, typer.Option("--any-machine", help="Compare results of different machines.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail also where more runs would be needed to tell.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Fail (exit code 10) if B is slower, worse or less than A, beyond the bounds.

    A and B are `results.json` of suites, or files of `edgesr bench --out`. A row is slower when
    the whole 95 % interval of the ratio of its medians lies beyond the bound, so that noise does
    not fail a build: `edgesr bench compare main/results.json results.json --max-slowdown 5%`
    """
    from edgesr.benchmarks.suite.compare import compare, read_either, table
    from edgesr.cli.output import say, show_table
    from edgesr.errors import RegressionError

    found = compare(
        read_either(before), read_either(after),
        max_slowdown=_share(max_slowdown), max_drop=max_drop, any_machine=any_machine,
    )  # fmt: skip
    rows = table(found)
    show_table(
        rows if as_json else [_readable(row) for row in rows],
        _COLUMNS,
        as_json=as_json,
        extra={
            "failed": found.failed, "unclear": found.unclear, "missing": found.missing,
            "machines": found.machines, "versions": found.versions,
        },
    )  # fmt: skip
    for changed in found.machines + found.versions:
        say(f"edgesr: differs: {changed}")
    for row in found.unclear:
        say(f"edgesr: {row}: the interval reaches beyond {max_slowdown}; more --runs would tell")
    failed = found.failed + ([f"{row}: unclear" for row in found.unclear] if strict else [])
    if failed:
        raise RegressionError("; ".join(failed))


def _readable(row: dict[str, object]) -> dict[str, object]:
    """A change in percent with its interval, a drop in dB."""
    if "drop_db" in row:
        return {**row, "change": f"{-_number(row, 'drop_db'):+.3f} dB"}
    low, high = _number(row, "low_percent"), _number(row, "high_percent")
    return {
        **row,
        "change": f"{_number(row, 'change_percent'):+.1f} %",
        "interval": f"{low:+.1f} to {high:+.1f} %" if high < 1e6 else "too few runs",
    }


def _number(row: dict[str, object], key: str) -> float:
    value = row[key]
    assert isinstance(value, float)
    return value


def _share(text: str) -> float:
    """`5%` or `0.05`.

    Raises:
        UsageError: neither.
    """
    from edgesr.errors import UsageError

    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if rest or not 0 <= share < 10:
        raise UsageError(f"--max-slowdown takes a share such as 5% or 0.05, not `{text}`")
    return share

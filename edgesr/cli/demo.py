"""`edgesr demo`: the whole chain on shipped weights and a shipped photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_COLUMNS = {
    "file": "artifact",
    "operators": "ops",
    "kib": "KiB",
    "parity": "against reference",
    "bicubic_db": "bicubic dB",
    "psnr_db": "PSNR dB",
    "lost_db": "dB lost",
    "runtime": "runtime",
    "median_ms": "ms",
    "gmac_per_s": "GMAC/s",
    "percent": "% of GEMM",
}


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder for models and pictures.")] = Path("out/demo"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an earlier demo.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Collapse, quantize, export, check, time and picture the shipped networks."""
    from edgesr.benchmarks.demo import demo
    from edgesr.cli.output import say, show_table

    shown = demo(out, force=force, tell=say)
    for row in shown.rows:
        share = row["share_of_peak"]
        row["percent"] = None if share is None or "fp32" in row["file"] else round(100 * share)
    show_table(
        shown.rows,
        _COLUMNS,
        footer=f"PSNR: {shown.protocol}; one photo, 672x1020, which the "
        f"networks saw in training. ms: median, one thread, all in "
        f"turns. int8 GEMM of one thread here: {shown.gemm:.0f} GMAC/s",
        as_json=as_json,
        extra={"panel": shown.panel, "photo": shown.photo, "protocol": shown.protocol},
    )
    say(f"pictures: {shown.panel} (bicubic, fp32, int8, difference), {shown.photo}")

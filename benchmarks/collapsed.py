"""What collapsing is worth: the training-side network against the collapsed one, in fp32.

    python -m edgesr.benchmarks.collapsed [NETWORK ...] [--out collapsed.json]

Both run in torch on one thread, in turns in one run; weights are random, since latency does not
depend on them. `ratio` is the training side's median over the collapsed one's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from edgesr.benchmarks.documents import write_document
from edgesr.benchmarks.harness import Contender, Plan, measure
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.markdown import table
from edgesr.benchmarks.statistics import summarize

from edgesr.analysis import macs
from edgesr.collapse import collapse
from edgesr.errors import EdgesrError
from edgesr.models import create

VERSION = 1
NETWORKS = ("ecbsr-m10c16-x2", "sesr-m5-x2", "rlfn-x4", "plain-m-x3")
COLUMNS = {
    "network": "network", "before_convolutions": "convolutions", "convolutions": "collapsed",
    "before_gmac": "GMAC", "gmac": "collapsed", "before_ms": "ms", "ms": "collapsed",
    "ratio": "ratio",
}  # fmt: skip


def compare(name: str, height: int, width: int, plan: Plan) -> dict[str, Any]:
    """One network, before and after.

    Raises:
        UsageError: no network of that name.
        UnsupportedError: it does not collapse exactly.
    """
    torch.set_num_threads(1)
    network = create(name)
    network.module.eval().requires_grad_(False)
    plain, certificate = collapse(network)
    x = torch.rand(1, 3 if network.colour == "rgb" else 1, height, width) * network.value_range
    modules = (network.module, plain.module)
    with torch.inference_mode():
        taken = measure(
            [Contender(f"{name} {form}", lambda m=module: m(x))  # type: ignore[misc]
             for form, module in zip(("training side", "collapsed"), modules, strict=True)],
            plan,
        )  # fmt: skip
    return {
        "network": name,
        "before_convolutions": certificate.convs_before, "convolutions": certificate.convs_after,
        "before_macs": macs(network, height, width), "macs": macs(plain, height, width),
        "before_samples": taken[0], "samples": taken[1],
    }  # fmt: skip


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    flat = []
    for row in rows:
        before, after = (summarize(row[k]).median for k in ("before_samples", "samples"))
        flat.append({
            **row,
            "before_gmac": f"{row['before_macs'] / 1e9:.1f}", "gmac": f"{row['macs'] / 1e9:.1f}",
            "before_ms": f"{before:.0f}", "ms": f"{after:.0f}", "ratio": f"{before / after:.1f}",
        })  # fmt: skip
    return table(flat, COLUMNS)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.collapsed", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--height", type=int, default=180)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    meter, plan = LoadMeter(), Plan(runs=chosen.runs)
    try:
        rows = [compare(name, chosen.height, chosen.width, plan) for name in chosen.networks]
        document = {
            "version": VERSION, "command": "python -m edgesr.benchmarks.collapsed",
            "height": chosen.height, "width": chosen.width, "threads": 1,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": asdict(this_machine()), "load": asdict(meter.stop()), "rows": rows,
        }  # fmt: skip
        if chosen.out:
            write_document(document, chosen.out)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

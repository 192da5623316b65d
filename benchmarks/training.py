"""What makes training fast here: steps per second of the loop, one choice changed at a time.

    python -m edgesr.benchmarks.training --page docs/train.md      # three minutes at the most

Every variant trains the same network on the same batches, a few steps per turn, in turns with the
others; a step lasts from one objective to the next. The first steps of every turn, in which
memory is allocated and `torch.compile` compiles, are left out and told apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from edgesr.benchmarks.documents import Document, read_document, write_document
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.markdown import replace_section, table
from edgesr.benchmarks.results import BUSY
from torch import Tensor

from edgesr.data.datasets import SAMPLES
from edgesr.errors import EdgesrError, UsageError
from edgesr.models import create
from edgesr.train.engine import Engine
from edgesr.train.loop import Patches, Progress, Schedule, train
from edgesr.train.objective import Objective, Reconstruction
from edgesr.train.patches import PatchCache
from edgesr.train.unit import Unit

RESULT = Path(__file__).parent / "results" / "training.json"
VERSION = 1
LEFT_OUT = 4
"""First steps of a turn."""

VARIANTS: dict[str, Engine] = {
    "as it is: bf16, channels-last, 1 worker": Engine("cpu"),
    "fp32": Engine("cpu", precision="fp32"),
    "channels first": Engine("cpu", channels_last=False),
    "no worker": Engine("cpu", workers=0),
    "2 workers": Engine("cpu", workers=2),
    "compiled": Engine("cpu", compile=True),
}


@dataclass
class Stamped:
    """An objective that notes when it is asked."""

    objective: Objective
    at: list[float] = field(default_factory=list)

    def __call__(self, student: Unit, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        self.at.append(perf_counter())
        return self.objective(student, lr, hr, done)


@dataclass(frozen=True)
class Turn:
    """A few steps of one variant."""

    rate: float
    """Steps per second, without the first."""
    waiting: float
    """Share of the time in which the loop waited for a batch."""
    first: float
    """Seconds until the second step."""


def turn(network: str, engine: Engine, patches: Patches, schedule: Schedule) -> Turn:
    """Train from random weights, and forget the result."""
    torch.manual_seed(0)
    stamped, seen = Stamped(Reconstruction()), list[Progress]()
    with tempfile.TemporaryDirectory() as folder:
        train(
            create(network), patches, Path(folder), schedule, objective=stamped,
            every=schedule.steps, report=seen.append, engine=engine,
        )  # fmt: skip
    at = stamped.at
    rate = (len(at) - 1 - LEFT_OUT) / (at[-1] - at[LEFT_OUT])
    return Turn(rate, seen[-1].waiting, at[1] - at[0])


def run(
    network: str, patches: Patches, schedule: Schedule, rounds: int
) -> Document:  # fmt: skip
    """All `VARIANTS` in turns.

    Raises:
        UsageError: too few steps for a rate.
    """
    if schedule.steps < LEFT_OUT + 3:
        raise UsageError(f"--steps must be at least {LEFT_OUT + 3}: the first ones are left out")
    meter, turns = LoadMeter(), {name: list[Turn]() for name in VARIANTS}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name, engine in VARIANTS.items():
            if name in failed:
                continue
            try:
                turns[name].append(turn(network, engine, patches, schedule))
            except RuntimeError as error:  # torch.compile without a C++ compiler, say
                failed[name] = str(error).strip().splitlines()[0].partition(":")[0]  # no paths
    return {
        "version": VERSION,
        "command": "python -m edgesr.benchmarks.training",
        "network": network,
        "schedule": asdict(schedule),
        "threads": torch.get_num_threads(),
        "machine": asdict(this_machine()),
        "load": asdict(meter.stop()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [
            {"variant": name, "turns": [asdict(one) for one in found], "failed": failed.get(name)}
            for name, found in turns.items()
        ],
    }


def markdown(document: Document) -> str:
    """Median rates, and how they compare with the first row's."""
    columns = {
        "variant": "training", "rate": "steps/s", "ratio": "", "waiting": "waiting for data",
        "first": "first step, s",
    }  # fmt: skip
    usual = None
    rows: list[dict[str, Any]] = []
    for row in document["rows"]:
        if row["failed"]:
            rows.append({"variant": row["variant"], "rate": f"failed: {row['failed']}"})
            continue
        rate = median(one["rate"] for one in row["turns"])
        usual = usual or rate
        rows.append({
            "variant": row["variant"], "rate": f"{rate:.2f}", "ratio": f"x {rate / usual:.2f}",
            "waiting": f"{median(one['waiting'] for one in row['turns']):.0%}",
            "first": f"{max(one['first'] for one in row['turns']):.1f}",
        })  # fmt: skip
    plan, machine = document["schedule"], document["machine"]
    busy = (document["load"]["others"] or 0) > BUSY
    facts = (
        f"{document['network']}, {plan['batch']} patches of {plan['patch']}x{plan['patch']}, "
        f"{document['threads']} thread(s) of {machine['cpu']}, torch "
        f"{machine['packages'].get('torch')}; median of {len(document['rows'][0]['turns'])} turns"
    )
    return f"{table(rows, columns)}\n{facts}{' on a busy machine' if busy else ''}.\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.training", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--network", default="plain-m-x3")
    parser.add_argument("--data", nargs="+", type=Path, help="folders of photos; default: samples")
    parser.add_argument("--steps", type=int, default=20, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", action="store_true", help="print the table, measure nothing")
    parser.add_argument("--page", type=Path, help="put the table into this file")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON")
    chosen = parser.parse_args(arguments)
    try:
        document = read_document(chosen.out, VERSION) if chosen.markdown else _measured(chosen)
        if chosen.page:
            replace_section(chosen.page, "training", markdown(document))
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(markdown(document))
    return 0


def _measured(chosen: argparse.Namespace) -> Document:
    torch.set_num_threads(chosen.threads)
    schedule = replace(
        Schedule(steps=chosen.steps, warm_up=0), batch=chosen.batch, patch=chosen.patch
    )
    scale = create(chosen.network).scale
    if not isinstance(scale, int):
        raise UsageError(f"`{chosen.network}` has no one whole scale")
    with tempfile.TemporaryDirectory() as cache:
        # What earlier runs compiled would make this first step shorter than a user's.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(cache) / "compiled")
        folders = chosen.data or [SAMPLES / "calibration"]
        document = run(
            chosen.network, PatchCache(folders, scale, Path(cache)), schedule, chosen.rounds
        )
    write_document(document, chosen.out)
    return document


if __name__ == "__main__":
    sys.exit(main())

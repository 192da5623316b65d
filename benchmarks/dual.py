"""Does DRN's dual loss help? A tiny DRN, with and without it, same seeds, same batches.

    python -m edgesr.benchmarks.dual --data BSDS400 --data T91 --held-out Set14 --work runs/dual

A run that was stopped goes on where it was when started again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from edgesr.benchmarks.machine import this_machine

from edgesr.adapt.dual import WEIGHT, DualRegression
from edgesr.errors import EdgesrError, OutputExistsError
from edgesr.manifest import write_atomically
from edgesr.metrics.consistency import lr_consistency
from edgesr.models.drn import DRN
from edgesr.network import Network
from edgesr.train.engine import Engine
from edgesr.train.loop import train
from edgesr.train.patches import PatchCache
from edgesr.train.schedule import Schedule
from edgesr.train.unit import Unit
from edgesr.train.validation import PsnrOn, enlarge

RESULT = Path(__file__).parent / "results" / "dual.json"
SCALE, CHANNELS, BLOCKS = 4, 8, 2


def bench(
    data: list[Path], held_out: Path, work: Path, *, schedule: Schedule, seeds: int
) -> dict[str, Any]:
    """Train all, judge all; the document that is kept."""
    patches = PatchCache(data, SCALE, work / "cache")
    judge = PsnrOn.folder(held_out, SCALE)
    rows = []
    for seed in range(seeds):
        for weight in (0.0, WEIGHT):
            torch.manual_seed(seed)
            network = Network(DRN(SCALE, CHANNELS, BLOCKS), "drn-tiny-x4", SCALE, value_range=255.0)
            average = train(
                network, patches, work / f"seed{seed}-dual{weight:g}",
                dataclasses.replace(schedule, seed=seed),
                objective=DualRegression(SCALE, weight=weight), every=50,
                engine=Engine(),
            )  # fmt: skip
            student = Unit(average, network.value_range)
            consistent = [lr_consistency(enlarge(student, lr, "rgb"), lr) for lr, _ in judge.pairs]
            score = judge(student)
            rows.append(
                {
                    "seed": seed,
                    "dual_weight": weight,
                    "psnr_y": score.decibels,
                    "lr_consistency": fmean(consistent),
                }
            )
    return {
        "version": 1,
        "command": f"python -m edgesr.benchmarks.dual --steps {schedule.steps} --seeds {seeds} "
        f"--batch {schedule.batch} --patch {schedule.patch}",
        "network": f"DRN x{SCALE}, {CHANNELS} channels, {BLOCKS} blocks a level",
        "parameters": sum(p.numel() for p in network.module.parameters()),
        "training": f"{schedule.steps} steps of {schedule.batch} patches of "
        f"{schedule.patch}x{schedule.patch}, {', '.join(p.name for p in data)}",
        "held_out": held_out.name,
        "protocol": score.protocol,
        "machine": dataclasses.asdict(this_machine()),
        "gain_psnr": _gain(rows, "psnr_y"),
        "gain_lr_consistency": _gain(rows, "lr_consistency"),
        "rows": rows,
    }


def _gain(rows: list[dict[str, Any]], figure: str) -> dict[str, Any]:
    """With the dual loss minus without, by seed."""
    by = {(row["seed"], row["dual_weight"]): row[figure] for row in rows}
    gains = [by[seed, WEIGHT] - by[seed, 0.0] for seed in sorted({row["seed"] for row in rows})]
    spread = stdev(gains) if len(gains) > 1 else 0.0
    return {"by_seed": gains, "mean": fmean(gains), "deviation": spread}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m edgesr.benchmarks.dual", description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True, help="photos")
    parser.add_argument("--held-out", type=Path, required=True, help="photos to judge on")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and cache")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="patches a step")
    parser.add_argument("--patch", type=int, default=24, help="their side, low-resolution pixels")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON to write")
    parser.add_argument("--force", action="store_true", help="overwrite")
    o = parser.parse_args()
    try:
        if o.out.exists() and not o.force:
            raise OutputExistsError(f"{o.out} exists; --force overwrites it")
        schedule = Schedule(
            steps=o.steps, batch=o.batch, patch=o.patch, warm_up=o.steps // 20, averaging=0.99
        )
        document = bench(o.data, o.held_out, o.work, schedule=schedule, seeds=o.seeds)
        write_atomically(o.out, (json.dumps(document, indent=1) + "\n").encode())
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    for name in ("gain_psnr", "gain_lr_consistency"):
        gain = document[name]
        seeds = ", ".join(f"{value:+.3f}" for value in gain["by_seed"])
        sys.stdout.write(f"{name}: {gain['mean']:+.3f} dB (by seed {seeds})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

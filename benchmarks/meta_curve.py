"""MZSR's training curve: dB after 0, 1, 5 and 10 steps on held-out photos, against training.

    python -m edgesr.benchmarks.meta_curve --data BSDS400 --data T91 --work runs/mzsr \
        --start 2000 --meta 300 --held-out kodak24 --out curve.json --plot curve.svg

Trains the start over all blurs and then meta-transfer (`START`, `META`), keeping weights on the
way, and measures them in the middle of each photo; protocol of `edgesr.benchmarks.zero_shot`. What
was stopped goes on where it was: training, and the weights that are not in `--out` yet. With
`--start 0 --meta 0` the weights in `work/start` and `work/meta` are measured as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import linear_regression
from typing import Any

import torch
from edgesr.benchmarks.machine import this_machine
from edgesr.benchmarks.meta_plot import draw
from edgesr.benchmarks.zero_shot import gains, in_precision
from torch import nn

from edgesr.adapt.meta import MetaSchedule, meta_train
from edgesr.adapt.step import RATE
from edgesr.adapt.tasks import KernelTasks
from edgesr.data.datasets import dataset
from edgesr.data.images import Image
from edgesr.errors import BadFileError, EdgesrError
from edgesr.manifest import sha256_of, write_atomically
from edgesr.metrics.psnr import LITERATURE
from edgesr.models.intake import load
from edgesr.models.mzsr import MZSR

START = MetaSchedule(
    tasks=4, patches=1, inner_steps=(0,), optimizer="soap", rate=2e-3, final_rate=1e-4
)
"""Ordinary training over all blurs, on patches of 64 pixels: small ones, so that there are many."""
META = MetaSchedule(
    tasks=2, patches=1, inner_steps=(0, 1, 2, 5, 10), inner_rate=RATE,
    optimizer="soap", rate=2e-4, final_rate=1e-5,
)  # fmt: skip
"""Then tasks; those of no steps keep what the network knows blindly. Patches of 128, as the reduced
one has a quarter of the side, and a border that is no photo."""
PATCH = {"start": 64, "meta": 128}
SAVED = 50
"""Steps after which a stopped run is at most behind."""
SIDE = 256
"""Of the middle of each held-out photo."""


def newborn() -> MZSR:
    """Random weights, the last layer small: the first image is the bicubic one, nearly."""
    module = MZSR(2)
    convs = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    with torch.no_grad():
        convs[-1].weight.mul_(0.05)
    module.enlarge.place(0, 0)  # the kernels of training have their centre on the first pixel
    return module


def milestones(steps: int) -> set[int]:
    """1, 2, 5, 10, 20, 50 ... and the last step."""
    powers = range(len(str(steps)))
    return {n * 10**p for p in powers for n in (1, 2, 5) if n * 10**p <= steps} | {steps}


def train(work: Path, photos: list[Image], *, start: int, meta: int, seed: int = 0) -> None:
    """Both phases, as far as they are not done yet."""
    torch.manual_seed(seed)
    module: nn.Module = newborn()
    for phase, schedule, steps in (("start", START, start), ("meta", META, meta)):
        if not steps:
            continue
        tasks = KernelTasks(photos, 2, patch=PATCH[phase])
        schedule = dataclasses.replace(schedule, steps=steps, seed=seed)
        kept = milestones(steps)
        module = meta_train(module, tasks, work / phase, schedule, every=SAVED, keep=kept)


def measure(
    work: Path, images: list[Image], known: list[dict[str, Any]], *, bf16: bool
) -> Iterator[list[dict[str, Any]]]:
    """After each of the kept weights, all rows so far: one per weights, kernel and number of steps.

    Args:
        known: rows of an earlier call; weights that are among them are not measured again.

    Raises:
        BadFileError: nothing was kept there.
    """
    found = [(phase, path) for phase in ("start", "meta")
             for path in sorted((work / phase).glob("step-*.safetensors"))]  # fmt: skip
    if not found:
        raise BadFileError(f"{work} holds no start/step-*.safetensors; train with --start STEPS")
    rows: list[dict[str, Any]] = []
    for phase, path in found:
        at = {"phase": phase, "step": int(path.stem.split("-")[1]), "sha256": sha256_of(path)}
        measured = [row for row in known if at.items() <= row.items()]
        if not measured:
            module = load(str(path), architecture="mzsr").module
            assert isinstance(module, MZSR)
            measured = [at | row for row in gains(in_precision(module, bf16=bf16), images)]
        rows += measured
        yield rows


def slopes(rows: list[dict[str, Any]]) -> dict[str, float]:
    """dB that twice as many training steps brought, by `phase kernel steps`.

    An estimate: the line through the last three weights over the logarithm of their steps.
    """
    found = {}
    for key in sorted({(row["phase"], row["kernel"], row["steps"]) for row in rows}):
        course = [(math.log2(row["step"]), row["psnr_y"]) for row in rows if row["step"]
                  and (row["phase"], row["kernel"], row["steps"]) == key][-3:]  # fmt: skip
        if len(course) == 3 and key[2] != "bicubic":
            places, values = zip(*course, strict=True)
            found[" ".join(key)] = linear_regression(places, values).slope
    return found


def middle_of(image: Image) -> Image:
    """`SIDE` x `SIDE`, or what there is."""
    top, left = (max(0, side - SIDE) // 2 for side in image.shape[:2])
    return image[top : top + SIDE, left : left + SIDE]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.meta_curve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--data", action="append", default=[], help="photos to train on")
    parser.add_argument("--start", type=int, default=0, help="steps of the start")
    parser.add_argument("--meta", type=int, default=0, help="steps of meta-transfer")
    parser.add_argument("--held-out", required=True, help="kodak24, ... or a folder")
    parser.add_argument("--images", type=int, default=4, help="of them, evenly chosen")
    parser.add_argument("--bf16", action="store_true", help="measure in bfloat16: faster")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write, or to go on with")
    parser.add_argument("--plot", type=Path, help="SVG to write")
    o = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if o.start or o.meta:
            photos = [image for name in o.data for _, image in dataset(name)]
            train(o.work, photos, start=o.start, meta=o.meta)
        names, images = zip(*list(dataset(o.held_out)), strict=True)
        chosen = [index * len(images) // o.images for index in range(o.images)]
        document: dict[str, Any] = {
            "version": 1,
            "held_out": [names[index] for index in chosen],
            "precision": "bf16" if o.bf16 else "fp32",
            "protocol": str(dataclasses.replace(LITERATURE, lowres="blur, every 2nd pixel, uint8")),
            "side": SIDE,
        }
        middles = [middle_of(images[index]) for index in chosen]
        for rows in measure(o.work, middles, _known(o.out, document), bf16=o.bf16):
            facts = {
                "machine": dataclasses.asdict(this_machine()),
                "db_per_doubling": slopes(rows),
                "rows": rows,
            }
            write_atomically(o.out, (json.dumps(document | facts, indent=1) + "\n").encode())
        if o.plot:
            write_atomically(o.plot, draw(rows).encode())
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    for row in rows:
        sys.stdout.write(
            f"{row['phase']:5} {row['step']:6} {row['kernel']} {row['steps']:>7} "
            f"{row['psnr_y']:.2f} dB\n"
        )
    return 0


def _known(path: Path, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier call that measured the same way."""
    if not path.exists():
        return []
    try:
        earlier = json.loads(path.read_text())
        rows: list[dict[str, Any]] = earlier["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(f"{path} is no training curve; give another --out") from error
    return rows if facts.items() <= earlier.items() else []


if __name__ == "__main__":
    sys.exit(main())

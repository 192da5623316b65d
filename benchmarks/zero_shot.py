"""MZSR's table: gain after 1, 5 and 10 steps; and how long ZSSR takes to get as far.

    python -m edgesr.benchmarks.zero_shot mzsr-x2 --data set5
    python -m edgesr.benchmarks.zero_shot mzsr-x2 --race photo.png

Protocol of Soh et al., CVPR 2020, table 1: 15x15 Gaussian of variance 2.0 (`iso`) or anisotropic
(`ani`, variances 4 and 1), every second pixel kept, 8 bits; Y of BT.601, shave = scale. The kernel
is known. With it the half pixel that bicubic enlargement is off is known, too: our enlargement is
placed right, bicubic is as in the paper.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from edgesr.benchmarks.machine import this_machine
from torch import Tensor

from edgesr.adapt.self_training import SelfTraining, self_train
from edgesr.adapt.step import adapt, enlarge
from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.datasets import dataset
from edgesr.data.degradations.gaussian import (
    SIZE,
    Kernel,
    anisotropic_gaussian,
    blur_downscale,
    isotropic_gaussian,
)
from edgesr.data.images import Image
from edgesr.errors import EdgesrError, OutputExistsError, UsageError
from edgesr.manifest import write_atomically
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.models.intake import load
from edgesr.models.mzsr import MZSR
from edgesr.models.zssr import zssr

KERNELS: dict[str, Kernel] = {
    "iso": isotropic_gaussian(SIZE, 2.0**0.5),
    "ani": anisotropic_gaussian(SIZE, 4.0, 1.0, -0.5),
}
STEPS = (0, 1, 5, 10)
SIDE = 256
"""Of the enlarged image in the race, as in the paper."""


class InBfloat16(MZSR):
    """The same network with its convolutions in bfloat16."""

    def refine(self, enlarged: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().refine(enlarged)


def learner(model: str) -> MZSR:
    """The network of this name or file.

    Raises:
        UsageError: it is another one.
    """
    module = load(model).module
    if not isinstance(module, MZSR):
        raise UsageError(f"`{model}` does not adapt; give mzsr-x2 or a checkpoint of it")
    return module


def gains(module: MZSR, images: Iterable[Image]) -> list[dict[str, Any]]:
    """One row per kernel and number of steps: mean PSNR over the originals `images`."""
    scale = module.scale
    images = [crop_to_multiple(image, scale**2) for image in images]
    rows = []
    for name, kernel in KERNELS.items():
        lows = [blur_downscale(image, kernel, scale) for image in images]
        pairs = list(zip(lows, images, strict=True))
        rows.append({"kernel": name, "steps": "bicubic", "psnr_y": fmean(
            psnr(imresize(low, scale), high, scale) for low, high in pairs)})  # fmt: skip
        figures: dict[int, list[float]] = {steps: [] for steps in STEPS}
        for low, high in pairs:
            learned, done = module, 0
            for steps in STEPS:
                learned, done = adapt(learned, low, kernel, steps - done), steps
                figures[steps].append(psnr(enlarge(learned, low), high, scale))
        rows += [
            {"kernel": name, "steps": str(steps), "psnr_y": fmean(values)}
            for steps, values in figures.items()
        ]
    return rows


def race(module: MZSR, newcomer: MZSR, image: Image, limit: int, every: int) -> dict[str, Any]:
    """Seconds of processor time: one step of MZSR, and ZSSR until it is as good or gives up."""
    scale, kernel = module.scale, KERNELS["iso"]
    top, left = ((side - SIDE) // 2 for side in image.shape[:2])
    if min(top, left) < 0:
        raise UsageError(f"the race needs a photo of {SIDE} pixels on both sides")
    high = image[top : top + SIDE, left : left + SIDE]
    low = blur_downscale(high, kernel, scale)
    began = time.process_time()
    learned = adapt(module, low, kernel, 1)
    one_step = time.process_time() - began
    goal = psnr(enlarge(learned, low), high, scale)
    course = []
    for step, seconds, student in _timed(self_train(
        newcomer, low, kernel, SelfTraining(steps=limit))):  # fmt: skip
        if step % every and step != limit:
            continue
        decibels = psnr(enlarge(student.eval(), low), high, scale)
        student.train()
        course.append({"step": step, "seconds": seconds, "psnr_y": decibels})
        if decibels >= goal:
            break
    last = course[-1]
    return {
        "image": f"{SIDE}x{SIDE} enlarged",
        "mzsr_seconds": one_step,
        "mzsr_psnr_y": goal,
        "bicubic_psnr_y": psnr(imresize(low, scale), high, scale),
        "zssr_reached_it": last["psnr_y"] >= goal,
        "ratio": last["seconds"] / one_step,
        "zssr": course,
    }


def in_precision(module: MZSR, *, bf16: bool) -> MZSR:
    """The network itself, from now on with its convolutions in bfloat16 if asked."""
    if bf16:
        module.__class__ = InBfloat16
    return module


def _timed(learners: Iterator[MZSR]) -> Iterator[tuple[int, float, MZSR]]:
    """Each step with its number and the processor time that learning took so far."""
    spent, began = 0.0, time.process_time()
    for step, student in enumerate(learners, 1):
        spent += time.process_time() - began
        yield step, spent, student
        began = time.process_time()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.zero_shot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="mzsr-x2 or a checkpoint of it")
    parser.add_argument("--data", help="set5, ... or a folder: the table of gains")
    parser.add_argument("--race", help="photo: the time against ZSSR")
    parser.add_argument("--limit", type=int, default=3000, help="steps of ZSSR at most")
    parser.add_argument("--every", type=int, default=100, help="steps between looks at ZSSR")
    parser.add_argument("--bf16", action="store_true", help="convolutions in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--force", action="store_true", help="overwrite")
    o = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if o.out and o.out.exists() and not o.force:
            raise OutputExistsError(f"{o.out} exists; --force overwrites it")
        module = learner(o.model)
        document: dict[str, Any] = {
            "version": 1,
            "model": Path(o.model).name,
            "precision": "bf16" if o.bf16 else "fp32",
            "protocol": str(dataclasses.replace(LITERATURE, lowres="blur, every 2nd pixel, uint8")),
            "machine": dataclasses.asdict(this_machine()),
        }
        if o.data:
            images = [image for _, image in dataset(o.data)]
            document |= {"data": o.data, "rows": gains(in_precision(module, bf16=o.bf16), images)}
        if o.race:
            ((_, photo),) = dataset(o.race)
            newcomer = in_precision(zssr(module.scale), bf16=o.bf16)
            meta = in_precision(module, bf16=o.bf16)
            document["race"] = race(meta, newcomer, photo, o.limit, o.every)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    if o.out:
        write_atomically(o.out, (json.dumps(document, indent=1) + "\n").encode())
    for row in document.get("rows", []):
        sys.stdout.write(f"{row['kernel']:4} {row['steps']:>8} {row['psnr_y']:.2f} dB\n")
    if "race" in document:
        _tell(document["race"])
    return 0


def _tell(result: dict[str, Any]) -> None:
    last = result["zssr"][-1]
    end = "as good" if result["zssr_reached_it"] else "not there yet"
    sys.stdout.write(
        f"MZSR, one step: {result['mzsr_seconds']:.2f} s, {result['mzsr_psnr_y']:.2f} dB "
        f"(bicubic {result['bicubic_psnr_y']:.2f})\n"
        f"ZSSR after {last['step']} steps: {last['seconds']:.1f} s, {last['psnr_y']:.2f} dB, "
        f"{end}: {result['ratio']:.0f} times as long\n"
    )


if __name__ == "__main__":
    sys.exit(main())

"""A network for any scale beside bicubic and beside networks for one scale, over a grid of scales.

    python -m edgesr.benchmarks.scales --data b100 --out benchmarks/results/scales.json
    python -m edgesr.benchmarks.scales --model arbsr-edsr-baseline --fixed edsr-baseline-x2 ...

What the file has of other images and scales stays.

PSNR on Y by the protocol of the literature. Where no network was made for a scale, the one for x2
(up to there) or x3 enlarges, and MATLAB's bicubic brings its result to size: what one would do
without a network for any scale. LR images as ArbSR makes them (`edgesr.evaluate.low_resolution`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from edgesr.data.bicubic import imresize
from edgesr.data.datasets import dataset
from edgesr.data.images import Image
from edgesr.evaluate import low_resolution
from edgesr.manifest import write_atomically
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.models.intake import load
from edgesr.runtime import NetworkSession, upscale
from edgesr.scales import Scale, checked, factors, parse_scale, scale_text

GRID = ("1.5", "2", "2.5", "3", "3.5", "4", "1.5x3", "3.5x2")
FIXED = ("plain-m-x2", "plain-m-x3")
Subject = Callable[[Image, Scale], Image]


def any_scale(spec: str) -> Subject:
    """The network at the scale asked for, folded for it."""
    sessions: dict[Scale, NetworkSession] = {}

    def run(image: Image, scale: Scale) -> Image:
        if scale not in sessions:
            sessions[scale] = NetworkSession(load(spec, scale=scale))
        return upscale(sessions[scale], image)

    return run


def fixed_scale(names: Sequence[str]) -> Subject:
    """The network for the next scale above, its result reduced; or the largest, its enlarged."""
    sessions = {int(n.scale): NetworkSession(n) for n in map(load, names)}  # type: ignore[arg-type]

    def run(image: Image, scale: Scale) -> Image:
        wanted = max(factors(scale))
        own = next((s for s in sorted(sessions) if s >= wanted), max(sessions))
        big = upscale(sessions[own], image)
        if scale == own:
            return big
        vertical, horizontal = (factor / own for factor in factors(scale))
        return imresize(big, (vertical, horizontal))

    return run


def measure(subjects: dict[str, Subject], data: str, scale: Scale) -> dict[str, float]:
    """Mean PSNR in dB of each subject."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _, image in dataset(data):
        lr, hr = low_resolution(image, scale)
        for name, run in subjects.items():
            found[name].append(psnr(run(lr, scale), hr, scale, LITERATURE))
    return {name: fmean(values) for name, values in found.items()}


def _measured_before(path: Path) -> list[dict[str, Any]]:
    """The rows of the file, so that a set of images can be added to it."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="edgesr.benchmarks.scales", description=__doc__)
    parser.add_argument("--model", default="arbsr-plain")
    parser.add_argument("--fixed", action="append", help=f"default: {', '.join(FIXED)}")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--scale", action="append", help=f"default: {', '.join(GRID)}")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    fixed = options.fixed or FIXED
    subjects: dict[str, Subject] = {
        "bicubic": imresize,
        "fixed": fixed_scale(fixed),
        options.model: any_scale(options.model),
    }
    rows = _measured_before(options.out)
    for data in options.data:
        for text in options.scale or GRID:
            scale = checked(parse_scale(text))
            place = {"data": data, "scale": scale_text(scale)}
            rows = [row for row in rows if not place.items() <= row.items()]
            rows.append({**place, **measure(subjects, data, scale)})
            result = {"protocol": str(LITERATURE), "fixed": ", ".join(fixed), "rows": rows}
            write_atomically(options.out, (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

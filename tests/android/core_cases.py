"""What the app's core must compute, by our own code: `android-demo/core/src/test/resources`.

python tests/android/core_cases.py        writes the file anew
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from edgesr.benchmarks.statistics import summarize
from edgesr.export import verify_script

from edgesr.data import bicubic, colour
from edgesr.errors import EdgesrError
from edgesr.manifest import Quantization
from edgesr.metrics.consistency import lr_consistency
from edgesr.metrics.psnr import psnr
from edgesr.runtime import pixels
from edgesr.runtime.tiles import Tiling, make_plan
from edgesr.runtime.upscale import upscale

FILE = (
    Path(__file__).parents[2] / "android-demo" / "core" / "src" / "test" / "resources" / "core.json"
)


def picture(height: int, width: int, channels: int = 3) -> np.ndarray[Any, Any]:
    """Noise that any language can compute: a linear congruential generator's high bytes."""
    out, state = np.empty(height * width * channels, np.uint8), 12345
    for i in range(out.size):
        state = (1103515245 * state + 12345) % 2**31
        out[i] = state >> 16 & 255
    return out.reshape(height, width, channels)


def sha(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def text(array: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def tile_case(height: int, width: int, tiling: Tiling) -> dict[str, Any]:
    case: dict[str, Any] = {
        "image": [height, width], "fixed": [tiling.height, tiling.width],
        "multiple": tiling.multiple, "halo": tiling.halo, "bytes": tiling.bytes_per_pixel,
    }  # fmt: skip
    try:
        plan = make_plan(height, width, tiling)
    except EdgesrError:
        return {**case, "refused": True}
    spans = [
        [[s.start, s.stop, s.keep_start, s.keep_stop] for s in axis]
        for axis in (plan.rows, plan.columns)
    ]
    return {**case, "spans": spans, "ramp": list(plan.ramp), "exact": plan.exact}


def tile_cases() -> list[dict[str, Any]]:
    draw = random.Random(7)
    cases = [
        tile_case(1, 1, Tiling()),
        tile_case(1, 1, Tiling(96, 120, halo=6)),
        tile_case(6144, 8192, Tiling(192, 256, halo=6)),
        tile_case(300, 5000, Tiling(halo=9, bytes_per_pixel=40000)),
        tile_case(100, 100, Tiling(16, 16, halo=8)),
    ]
    for _ in range(60):
        multiple = draw.choice([1, 1, 2, 4, 8])
        halo = draw.choice([None, 0, 3, 6, 13, 40])
        fixed = draw.random() < 0.6
        sides = [multiple * draw.randint(20, 200) if fixed else None for _ in range(2)]
        tiling = Tiling(sides[0], sides[1], multiple, halo, draw.choice([512, 4096, 30000]))
        cases.append(tile_case(draw.randint(1, 900), draw.randint(1, 900), tiling))
    return cases


class Placed:
    """A session whose pixels tell where they lay in their tile, so that every seam shows."""

    def __init__(self, scale: int, channels: int, tiling: Tiling) -> None:
        self.manifest = SimpleNamespace(colour="rgb" if channels == 3 else "y", scale=scale)
        self._tiling, self._scale = tiling, scale

    def tiling(self) -> Tiling:
        return self._tiling

    def run(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        big = image.repeat(self._scale, 0).repeat(self._scale, 1).astype(int)
        y, x = np.ogrid[: big.shape[0], : big.shape[1]]
        return ((big + (3 * y + 5 * x)[..., None]) % 256).astype(np.uint8)


def upscale_cases() -> list[dict[str, Any]]:
    cases = []
    for height, width, scale, channels, tiling in (
        (50, 61, 2, 3, Tiling(24, 32, halo=4)),
        (50, 61, 3, 3, Tiling(32, 24, 4, halo=3)),
        (9, 13, 2, 3, Tiling(24, 32, halo=4)),
        (70, 41, 2, 3, Tiling(24, 32, halo=None)),
        (31, 29, 2, 1, Tiling(24, 20, halo=3)),
        (150, 201, 3, 1, Tiling(64, 48, halo=3)),
        (1, 1, 3, 1, Tiling(8, 8, halo=2)),
    ):
        big = upscale(Placed(scale, channels, tiling), picture(height, width))  # type: ignore[arg-type]
        cases.append({
            "image": [height, width], "scale": scale, "channels": channels,
            "fixed": [tiling.height, tiling.width], "multiple": tiling.multiple,
            "halo": tiling.halo, "sha256": sha(big),
        })  # fmt: skip
    return cases


def near_halves() -> np.ndarray[Any, Any]:
    """Colours whose Y lies halfway between two bytes, or next to it, 1xNx3."""
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    rest = colours.astype(np.int64) @ colour.NUMERATORS[0] % colour.DENOMINATOR
    order = np.argsort(np.abs(rest - colour.DENOMINATOR // 2), kind="stable")
    return colours[order[:200]][None]


def codec_cases() -> list[dict[str, Any]]:
    cases = []
    image = picture(3, 5)
    floats = np.linspace(-0.1, 1.1, 45, dtype=np.float32).reshape(1, 3, 5, 3)
    floats[0, 0, 0] = [0.5 / 255, 1.5 / 255, 2.5 / 255]
    for dtype, layout, value_range, scale, zero in (
        ("uint8", "NHWC", 1.0, 1 / 255, 0),
        ("int8", "NHWC", 1.0, 1 / 255, -128),
        ("int8", "NCHW", 255.0, 1.3, -100),
        ("uint8", "NCHW", 1.0, 0.0045, 7),
        ("float32", "NHWC", 1.0, 0, 0),
        ("float32", "NCHW", 255.0, 0, 0),
    ):
        quantization = Quantization(scale, zero) if scale else None
        facts: Any = SimpleNamespace(
            dtype=dtype, layout=layout, value_range=value_range, artifact="a", network="n",
            input_quantization=quantization, output_quantization=quantization,
        )  # fmt: skip
        out = floats * np.float32(value_range) if dtype == "float32" else picture(3, 5).view(dtype)
        out = out.reshape(1, 3, 5, 3)
        if layout == "NCHW":
            out = np.ascontiguousarray(out.transpose(0, 3, 1, 2))
        cases.append(
            {"dtype": dtype, "layout": layout, "range": value_range, "scale": scale, "zero": zero,
             "encoded": text(pixels.to_tensor(image, facts)),
             "output": text(out), "decoded": text(pixels.to_image(out, facts))}
        )  # fmt: skip
    return cases


def consistency_cases() -> dict[str, Any]:
    """By scale: a wide image and one as narrow as the kernel; halves and thirds of a byte occur."""
    found = {}
    for scale in (2, 3, 4):
        figures = []
        for height, width in ((20, 13), (5, 6)):
            enlarged = picture(height * scale, width * scale)
            reduced = bicubic.imresize(enlarged, 1 / scale)
            noise = picture(height + 1, width)[1:] % 8
            small = np.clip(reduced.astype(int) + noise, 0, 255).astype(np.uint8)
            figures.append({
                "height": height, "width": width, "reduced": sha(reduced), "small": text(small),
                "decibels": lr_consistency(enlarged, small),
            })  # fmt: skip
        found[str(scale)] = figures
    return found


def cases() -> dict[str, Any]:
    """Everything the Kotlin tests read."""
    small, hr = picture(7, 9), picture(40, 30)
    colours, near = picture(32, 32), near_halves()
    samples = [5.0, 1.0, 9.5, 2.25, 7.0, 3.0, 8.0]
    summary = summarize(samples)
    sr = np.clip(hr.astype(int) + picture(41, 30)[1:] % 16, 0, 255).astype(np.uint8)
    return {
        "tiles": tile_cases(),
        "bicubic": {str(s): sha(bicubic.imresize(small, s)) for s in (2, 3, 4)},
        "luma": text(colour.split(colours)[0]),
        "near_halves": text(near), "luma_of_near_halves": text(colour.split(near)[0]),
        "joined": text(colour.join(*colour.split(near))),
        "codec": codec_cases(),
        "upscale": upscale_cases(),
        "pattern": sha(verify_script.pattern(37, 141, 3)),
        "positions": verify_script.positions(12345).tolist()[:50],
        "samples": samples, "median": summary.median, "p90": summary.p90,
        "psnr": psnr(sr, hr, scale=3), "consistency": consistency_cases(),
    }  # fmt: skip


def main() -> None:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(cases(), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

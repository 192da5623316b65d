"""The whole chain on shipped weights and a shipped photo, in under a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.entrants import line_up
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.panel import amplified_difference, busiest_crop, panel
from edgesr.export import Artifact, export

from edgesr.data.bicubic import imresize
from edgesr.data.datasets import dataset
from edgesr.data.images import ImageFile, write_image
from edgesr.errors import OutputExistsError
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.runtime import NetworkSession, Session, open_session
from edgesr.runtime.upscale import upscale

Image = npt.NDArray[np.uint8]

PHOTO = "budgie"
RECIPE = (
    ("plain-m-x3", "tflite", "fp32"),
    ("plain-m-x3", "tflite", "int8"),
    ("plain-m-x3", "onnx", "int8"),
    ("plain-m-x3", "openvino", "int8"),
    ("ncnet-x3", "tflite", "int8"),
    ("plain-m-x2", "tflite", "int8"),
)
CROP = 168
"""Side of the crops in the panel, in output pixels."""


@dataclass(frozen=True)
class Demo:
    """What there is to show: one row per artifact, and where the pictures are."""

    rows: list[dict[str, Any]]
    panel: Path
    photo: Path
    protocol: str
    gemm: float
    """int8 GEMM rate of one thread on this machine, GMAC/s."""


def demo(out: Path, *, force: bool = False, tell: Callable[[str], None] = lambda _: None) -> Demo:
    """Export the recipe into `out`, judge every file, draw the panel.

    Args:
        out: folder to write to.
        force: overwrite an earlier demo.
        tell: told in a line what is going on.

    Raises:
        OutputExistsError: `out` holds a demo and `force` is off.
    """
    sheet = out / "panel.png"
    if sheet.exists() and not force:
        raise OutputExistsError(f"{sheet} exists; --force overwrites it")
    photo = dict(dataset("samples"))[PHOTO]
    networks = {name: load(name) for name, _, _ in RECIPE}
    floats = {name: _enlarged(NetworkSession(net, 2), net, photo) for name, net in networks.items()}

    rows, pictures = [], {}
    for name, target, precision in RECIPE:
        tell(f"{name} for {target}, {precision}: collapse, quantize, write, check")
        network = networks[name]
        shape = tuple(side // 3 for side in photo.shape[:2])
        artifact = export(
            network, target=target, precision=precision, shape=shape, out=out, force=force
        )
        picture = _enlarged(open_session(artifact.path, threads=2), network, photo)
        pictures[artifact.path.name] = picture
        rows.append(_row(artifact, network, picture, floats[name], photo))

    tell("timing all of them in turns")
    result = bench(
        line_up([str(out / row["file"]) for row in rows]), Plan(runs=12, warm_up=2), memory=False
    )
    for row in rows:
        # An ONNX file runs in two runtimes; its own comes first.
        timed = next(r for r in result.table() if r["artifact"] == row["file"])
        row |= {
            "runtime": timed["runtime"],
            "median_ms": timed["median_ms"],
            "gmac_per_s": timed["gmac_per_s"],
            "share_of_peak": timed["share_of_peak"],
        }

    tell("drawing the panel")
    int8 = next(n for n in pictures if n.startswith("plain-m-x3_int8") and n.endswith("tflite"))
    drawn = _panel(photo, floats["plain-m-x3"], pictures[int8])
    write_image(ImageFile(drawn), sheet, force=True)
    enlarged = out / "photo_x3.png"
    write_image(ImageFile(pictures[int8]), enlarged, force=True)
    gemm = next(p.rate for p in result.peaks if p.arithmetic == "int8")
    return Demo(rows, sheet, enlarged, str(LITERATURE), gemm)


def _low(photo: Image, scale: int) -> Image:
    return imresize(photo, 1 / scale)


def _enlarged(session: Session, network: Network, photo: Image) -> Image:
    return upscale(session, _low(photo, int(network.scale)))  # type: ignore[arg-type]


def _row(
    artifact: Artifact, network: Network, picture: Image, exact: Image, photo: Image
) -> dict[str, Any]:
    scale = artifact.manifest.scale
    bicubic = imresize(_low(photo, scale), scale)
    quality, before = psnr(picture, photo, scale), psnr(exact, photo, scale)
    parity = artifact.manifest.parity
    return {
        "file": artifact.path.name,
        "operators": sum(artifact.manifest.operators.values()),
        "kib": round(artifact.manifest.size / 1024),
        "parity": f"{100 * parity['identical']:.4g} % equal",
        "bicubic_db": psnr(bicubic, photo, scale),
        "psnr_db": quality,
        "lost_db": before - quality,
    }


def _panel(photo: Image, exact: Image, int8: Image) -> Image:
    bicubic = imresize(_low(photo, 3), 3)
    difference = amplified_difference(exact, int8)
    rows = []
    half = photo.shape[1] // 2
    for left, right in ((0, half), (half, photo.shape[1])):
        y, x = busiest_crop(photo[:, left:right], CROP)
        cut = np.s_[y : y + CROP, left + x : left + x + CROP]
        rows.append({
            "bicubic": bicubic[cut], "fp32": exact[cut], "int8 TFLite": int8[cut],
            "|fp32 - int8| x 8": difference[cut], "original": photo[cut],
        })  # fmt: skip
    return panel(rows, zoom=2)

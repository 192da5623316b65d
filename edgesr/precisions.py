"""Four columns: what each step from fp32 to the device costs, on the same images.

    with four_columns(load_model("plain-m-x3.int8.safetensors")) as columns:
        report = compare(columns, dataset("set14"))

| column            | what runs                                                        |
|-------------------|------------------------------------------------------------------|
| torch fp32        | the float network                                                |
| exported fp32     | its file, in a runtime                                           |
| integer reference | the quantized graph, in the runtimes' arithmetic                 |
| runtime int8      | its file, in a runtime                                           |

Each is compared with the original image, and with the first column.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from edgesr.analysis import receptive_field
from edgesr.data.datasets import Dataset, calibration_samples
from edgesr.data.images import Image
from edgesr.errors import UsageError
from edgesr.evaluate import pairs, refuse_calibrated
from edgesr.export import export
from edgesr.export.pipeline import prepare
from edgesr.metrics.psnr import LITERATURE, Protocol, psnr
from edgesr.network import Network
from edgesr.quantize import QuantizedGraph, quantize
from edgesr.quantize.session import ReferenceSession
from edgesr.runtime import NetworkSession, Session, open_session, upscale
from edgesr.scales import Scale
from edgesr.targets import find_target

FLOAT, EXPORTED, REFERENCE, RUNTIME = (
    "torch fp32", "exported fp32", "integer reference", "runtime int8",
)  # fmt: skip
TILE = 48
"""Least input side of files that are exported to be judged, where the target wants one: images
smaller than that would be mirrored to fill it, and differ near their borders."""

Seen = Callable[[str, Image], None]


@dataclass(frozen=True)
class Judged:
    """One column on one image."""

    psnr: float
    """dB against the original."""
    against_float: float
    """dB against the first column; infinite where every pixel is the same."""
    identical: float
    """Share of values equal to the column before it."""


@dataclass(frozen=True)
class Comparison:
    """All columns on all images."""

    subject: str
    data: str
    scale: Scale
    protocol: Protocol
    runs_in: dict[str, str]
    """Column to runtime and version, in order; the first is what the others are compared with."""
    images: dict[str, dict[str, Judged]]
    """By image, by column."""
    mirrored: tuple[str, ...] = ()
    """Images smaller than the fixed input of a file: they were mirrored to fill it, which changes
    pixels near their borders, whatever the precision."""

    def mean(self, column: str) -> float:
        """Mean dB against the originals."""
        return fmean(row[column].psnr for row in self.images.values())

    def drop(self, column: str) -> float:
        """dB lost against the first column, on average; negative if it is better."""
        return self.mean(next(iter(self.runs_in))) - self.mean(column)

    def worst(self, column: str) -> tuple[str, float]:
        """The image that loses most against the first column, and how many dB."""
        first = next(iter(self.runs_in))
        losses = {name: row[first].psnr - row[column].psnr for name, row in self.images.items()}
        return max(losses.items(), key=lambda item: item[1])

    def rows(self) -> list[dict[str, Any]]:
        """One row per column: dB, drop, dB against fp32, and the worst image."""
        rows = []
        for column, runtime in self.runs_in.items():
            worst, loss = self.worst(column)
            against = [row[column].against_float for row in self.images.values()]
            rows.append({
                "column": column,
                "runs_in": runtime,
                "psnr": self.mean(column),
                "drop": self.drop(column),
                "against_float": _mean_of_db(against),
                "identical": fmean(row[column].identical for row in self.images.values()),
                "worst_image": worst,
                "worst_drop": loss,
            })  # fmt: skip
        return rows

    def image_rows(self) -> list[dict[str, Any]]:
        """One row per image: dB by column."""
        return [
            {"image": name, **{column: row[column].psnr for column in self.runs_in}}
            for name, row in self.images.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "subject": self.subject, "data": self.data, "scale": self.scale,
            "protocol": str(self.protocol), "columns": self.rows(), "images": self.image_rows(),
            "mirrored": list(self.mirrored),
        }  # fmt: skip


def compare(
    columns: Mapping[str, Session],
    data: Dataset,
    *,
    protocol: Protocol = LITERATURE,
    name: str = "",
    seen: Seen | None = None,
) -> Comparison:
    """Judge sessions side by side, image by image; nothing is kept but figures.

    Args:
        columns: by name, the one to compare with first.
        seen: called with each image's name and the last column's enlargement.

    Raises:
        UsageError: no column, columns of different scales, or one was calibrated on this data.
    """
    scales = {session.manifest.scale for session in columns.values()}
    if len(scales) != 1:
        raise UsageError(f"the compared enlarge by {sorted(scales)}; compare models of one scale")
    (scale,) = scales
    images: dict[str, dict[str, Judged]] = {}
    least = [max(session.manifest.height or 0 for session in columns.values())]
    least.append(max(session.manifest.width or 0 for session in columns.values()))
    mirrored = []
    for label, lr, hr in pairs(data, scale, (protocol,)):
        first: Image | None = None
        before = lr
        row: dict[str, Judged] = {}
        for column, session in columns.items():
            refuse_calibrated(session.manifest, label, lr, hr)
            sr = upscale(session, lr)
            first = sr if first is None else first
            row[column] = Judged(
                psnr(sr, hr, scale, protocol),
                psnr(sr, first, scale, protocol),
                1.0 if sr is first else float(np.mean(sr == before)),
            )
            before = sr
        images[label] = row
        if lr.shape[0] < least[0] or lr.shape[1] < least[1]:
            mirrored.append(label)
        if seen is not None:
            seen(label, before)
    infos = {column: session.info() for column, session in columns.items()}
    runs_in = {column: f"{info.runtime} {info.version}" for column, info in infos.items()}
    subject = name or next(iter(columns.values())).manifest.network
    return Comparison(subject, data.name, scale, protocol, runs_in, images, tuple(mirrored))


@contextmanager
def four_columns(
    model: Network | QuantizedGraph,
    *,
    target: str | None = None,
    artifacts: Mapping[str, Path] | None = None,
    runtime: str | None = None,
    threads: int = 1,
) -> Iterator[dict[str, Session]]:
    """Sessions of a model in fp32 and int8, in torch and in a runtime; closed with the block.

    Args:
        model: a network is quantized with the shipped calibration photos.
        target: of the exported files; None is `onnx`, which takes any size in one piece.
        artifacts: files that are there already, by column; the rest is exported to a folder that
            is removed afterwards.
        runtime: of the files; None takes the first that opens them.

    Raises:
        EdgesrError: as `export` and `open_session`.
    """
    given = dict(artifacts or {})
    if isinstance(model, Network):
        lowered, plain, certificate = prepare(model)
        quantized = quantize(lowered, plain, calibration_samples())
        quantized.certificate = certificate.to_dict()
    else:
        quantized, plain = model, model.network
    goal = find_target(find_target(target or "onnx").format)
    shape = None if goal.dynamic else _tile(plain)
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        for column, source in ((EXPORTED, plain), (RUNTIME, quantized)):
            if column not in given:
                artifact = export(source, target=goal.name, shape=shape, out=Path(folder))
                given[column] = artifact.path
        yield {
            FLOAT: NetworkSession(plain, threads),
            EXPORTED: open_session(given[EXPORTED], runtime=runtime, threads=threads),
            REFERENCE: ReferenceSession(quantized, threads),
            RUNTIME: open_session(given[RUNTIME], runtime=runtime, threads=threads),
        }


def _tile(network: Network) -> tuple[int, int]:
    """Small, but with more inside than halo around it."""
    multiple, halo = network.pad_multiple, receptive_field(network).halo or 0
    side = -(-max(TILE, 4 * halo) // multiple) * multiple
    return side, side


def _mean_of_db(values: list[float]) -> float:
    """Mean of the figures that are finite; infinite if none is."""
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else math.inf

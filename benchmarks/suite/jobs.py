"""What worker processes do, here or on another machine: write a file, judge files.

Plain functions of plain values, so that any engine can send them somewhere. Files travel as bytes.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from edgesr.export import export
from edgesr.quantize.store import load_model

from edgesr.data.datasets import dataset
from edgesr.evaluate import EvalReport, evaluate
from edgesr.metrics.psnr import LITERATURE
from edgesr.precisions import EXPORTED, RUNTIME, Comparison, compare, four_columns
from edgesr.runtime import open_session

Files = dict[str, bytes]
"""Name to content."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A network's name, or a file with its content."""

    spec: str
    content: bytes | None = None

    @classmethod
    def of(cls, spec: str) -> Model:
        """Read the file, if it is one: workers need not see this disk."""
        path = Path(spec)
        return cls(spec, path.read_bytes() if path.is_file() else None)

    @contextmanager
    def loaded(self) -> Iterator[Any]:
        """The network, or the quantized graph."""
        with tempfile.TemporaryDirectory(prefix="edgesr-suite-") as folder:
            spec = self.spec
            if self.content is not None:
                spec = str(Path(folder) / Path(self.spec).name)
                Path(spec).write_bytes(self.content)
            yield load_model(spec)


def export_file(model: Model, target: str, precision: str, shape: tuple[int, int]) -> Files:
    """Export and prove one artifact; it comes back with its manifest and whatever lies beside.

    Raises:
        EdgesrError: as `edgesr.export.export`.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="edgesr-suite-") as folder, model.loaded() as loaded:
        export(loaded, target=target, precision=precision, shape=shape, out=folder)
        return {
            path.name: path.read_bytes()
            for path in sorted(Path(folder).iterdir())
            if path.is_file()
        }


def judge(
    model: Model, target: str, data: str, artifacts: Mapping[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Figures of a network's artifacts on one set of images, as fields of `result.Quality`.

    What is run are files of the same weights and scales at the size of a tile: an image smaller
    than the artifact's own input would have to be mirrored to fill it.

    Args:
        artifacts: by precision, file name and sha256 of what was timed.

    Raises:
        EdgesrError: as `edgesr.evaluate` and `edgesr.export`.
    """
    torch.set_num_threads(1)
    images = dataset(data)
    with ExitStack() as stack:
        loaded = stack.enter_context(model.loaded())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgesr-suite-"))
        columns = stack.enter_context(four_columns(loaded, target=target))
        facts = columns[RUNTIME].manifest
        tile = None if facts.height is None or facts.width is None else (facts.height, facts.width)
        for precision in artifacts:
            if column_of(precision) not in columns:
                file = export(
                    loaded, target=facts.target, precision=precision, shape=tile, out=folder
                )
                columns[column_of(precision)] = open_session(file.path)
        comparison = compare(columns, images)
        found = []
        for precision, (name, sha256) in artifacts.items():
            column = column_of(precision)
            report = evaluate(columns[column], images, protocols=(LITERATURE,))
            figures = _figures(comparison, column, report)
            found.append(
                {"artifact": name, "sha256": sha256, "target": target, "precision": precision}
                | figures
            )
        return found


def column_of(precision: str) -> str:
    """What the column of an artifact of this precision is called."""
    usual = {"fp32": EXPORTED, "int8": RUNTIME}
    return usual.get(precision, f"runtime {precision}")


def _figures(comparison: Comparison, column: str, report: EvalReport) -> dict[str, Any]:
    rows = {row["column"]: row for row in comparison.rows()}
    judged, enlarged = report.mean("Y"), report.mean("Y", bicubic=True)
    against = {name: _finite(row["against_float"]) for name, row in rows.items()}
    return {
        "network": comparison.subject,
        "dataset": comparison.data,
        "protocol": str(comparison.protocol),
        "images": len(comparison.images),
        "column": column,
        "psnr": {name: row["psnr"] for name, row in rows.items()},
        "against_float": against,
        "bicubic": enlarged.psnr,
        "ssim": judged.ssim,
        "bicubic_ssim": enlarged.ssim,
        "worst_image": rows[column]["worst_image"],
        "worst_drop": rows[column]["worst_drop"],
        "runs_in": dict(comparison.runs_in),
    }


def _finite(value: float) -> float | None:
    return value if value != float("inf") else None

"""`edgesr eval --ray`: one task per image, the same figures."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from edgesr.benchmarks.suite.pool import Job, Pool

from edgesr.data.datasets import Dataset, dataset
from edgesr.errors import EdgesrError
from edgesr.evaluate import EvalReport, evaluate
from edgesr.manifest import manifest_path
from edgesr.metrics.psnr import Protocol
from edgesr.runtime import open_model
from edgesr.scales import Scale

Files = dict[str, bytes]


def evaluate_on(
    pool: Pool,
    model: str,
    images: Dataset,
    scale: Scale | None,
    protocols: tuple[Protocol, ...],
    *,
    runtime: str | None = None,
    seen: Callable[[str], None],
) -> EvalReport:
    """`evaluate`, on the workers of `pool`.

    Args:
        model: what `open_model` takes; files travel with the tasks.
        seen: called with the name of each image that is done.

    Raises:
        EdgesrError: an image failed twice. A mean over the rest would be another figure.
    """
    files = _files_of(Path(model))
    order = dict(zip(images.labels, images.paths, strict=True))
    work = [
        Job(
            label, judge_image,
            {"model": model, "files": files, "image": (path.name, path.read_bytes()),
             "scale": scale, "protocols": protocols, "runtime": runtime},
        )
        for label, path in order.items()
    ]  # fmt: skip
    reports: dict[str, EvalReport] = {}
    for outcome in pool.run(work):
        if outcome.error is not None:
            raise EdgesrError(f"{outcome.job.label} could not be judged: {outcome.error}")
        reports[outcome.job.label] = outcome.value
        seen(outcome.job.label)
    scores = [dataclasses.replace(reports[label].images[0], image=label) for label in order]
    first = next(iter(reports.values()))
    return dataclasses.replace(first, subject=model, data=images.name, images=tuple(scores))


def judge_image(
    model: str,
    files: Files,
    image: tuple[str, bytes],
    scale: Scale | None,
    protocols: tuple[Protocol, ...],
    runtime: str | None,
) -> EvalReport:
    """On the worker: one image."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="edgesr-eval-") as folder:
        for name, content in (*files.items(), image):
            (Path(folder) / name).write_bytes(content)
        spec = str(Path(folder) / Path(model).name) if files else model
        session = open_model(spec, runtime=runtime, threads=1, scale=scale)
        return evaluate(session, dataset(Path(folder) / image[0]), scale, protocols)


def _files_of(path: Path) -> Files:
    """The file, its manifest and its weights; none for a network's name."""
    if not path.is_file():
        return {}
    beside = (path, manifest_path(path), path.with_suffix(".bin"))
    return {file.name: file.read_bytes() for file in beside if file.is_file()}

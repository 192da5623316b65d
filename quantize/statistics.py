"""What a calibration run saw, in memory and in a file: `edgesr quantize calibrate`.

The file is JSON. It holds the histograms of all tensors, so that any observer can be asked later,
the factors of equalization, so that the same equalized graph is made again, the ranges chosen with
them, the pixel hashes of all images, and a few patches, on which weights are rounded.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.quantize.balance import Balance
from edgesr.quantize.calibrate import (
    Photos,
    Report,
    gather,
    observe_channels,
    observe_values,
    quiet,
)
from edgesr.quantize.clipping import WHOLE, balanced_by_trial
from edgesr.quantize.equalize import Extremes, classes_of, equalize
from edgesr.quantize.forms import spell
from edgesr.quantize.integer import check
from edgesr.quantize.observers import Histogram
from edgesr.quantize.sensitivity import sample
from PIL import Image as Pillow
from torch import fx

from edgesr.data.images import Image
from edgesr.errors import BadFileError
from edgesr.graph import constant_of
from edgesr.manifest import write_atomically
from edgesr.network import Network

FORMAT = "edgesr-statistics-2"
KEPT_PATCHES = 48
"""In the file; enough to round weights on."""
SAVE_EVERY = 10.0
"""Seconds between saves of an unfinished run."""


@dataclass
class Statistics:
    """A calibration run: the graph it equalized, and what was seen on it."""

    graph: fx.GraphModule
    """In int8 spelling, equalized."""
    photos: Photos
    """Read back from a file: some of the patches, all of the hashes."""
    patches: int
    histograms: dict[str, Histogram]
    equalized: bool
    balance: Balance

    @property
    def classes(self) -> int:
        """Channel classes that equalization rescaled."""
        return int((self.balance.factors != 1).sum())


def observe(
    graph: fx.GraphModule,
    network: Network,
    photos: Photos,
    *,
    equalized: bool = True,
    costs: Sequence[float] = WHOLE,
    report: Report = quiet,
) -> Statistics:
    """Spell a lowered graph for int8, equalize its channels, and see what its tensors hold.

    Args:
        costs: what clipping may cost (`clipping.py`).
    """
    return _finish(_Run(spell(graph), photos, equalized, costs), network, report)


def calibrate(
    graph: fx.GraphModule,
    network: Network,
    images: Iterable[Image],
    path: Path,
    *,
    forbidden: Collection[str] = frozenset(),
    equalized: bool = True,
    costs: Sequence[float] = WHOLE,
    report: Report = quiet,
) -> Statistics:
    """`observe`, saved to a file; a run that was cut off goes on where it stopped.

    Args:
        images: the same ones, in the same order, for a run that goes on.
        path: of the statistics; `PATH.part` holds an unfinished run.
        costs: what clipping may cost (`clipping.py`).

    Raises:
        UsageError: no image, or a forbidden one.
        CheckpointError: a layer computes NaN or infinity.
    """
    photos = gather(network, images, forbidden=forbidden, report=report)
    run = _Run(spell(graph), photos, equalized, costs)
    part = path.with_name(path.name + ".part")
    run.resume(part)
    saved = time.monotonic()

    def keep(what: str, done: int, total: int) -> None:
        nonlocal saved
        run.done = done
        report(what, done, total)
        if time.monotonic() - saved > SAVE_EVERY:
            write_atomically(part, json.dumps(run.to_dict()).encode())
            saved = time.monotonic()

    statistics = _finish(run, network, keep)
    save(statistics, path)
    part.unlink(missing_ok=True)
    return statistics


def save(statistics: Statistics, path: Path) -> None:
    """Write the file described above."""
    step = max(1, -(-len(statistics.photos.patches) // KEPT_PATCHES))
    document = {
        "format": FORMAT,
        "graph": digest(statistics.graph),
        "equalized": statistics.equalized,
        "patches": statistics.patches,
        "images": statistics.photos.hashes,
        "pictures": [_to_text(patch) for patch in statistics.photos.patches[::step]],
        "histograms": _from_histograms(statistics.histograms),
        "factors": statistics.balance.factors.tolist(),
        "ranges": statistics.balance.ranges,
    }
    write_atomically(path, json.dumps(document).encode())


def read(path: Path, graph: fx.GraphModule) -> Statistics:
    """Statistics of this very graph.

    Args:
        graph: lowered, as `calibrate` got it.

    Raises:
        BadFileError: not such a file, or of another network.
    """
    document = _document(path, FORMAT)
    try:
        spelled = spell(graph)
        balanced = Balance(
            np.array(document["factors"], np.float64),
            {name: (low, high) for name, (low, high) in document["ranges"].items()},
        )
        equalize(spelled, classes_of(spelled), balanced.factors, {})
        statistics = Statistics(
            graph=spelled,
            photos=Photos([_to_image(text) for text in document["pictures"]], document["images"]),
            patches=int(document["patches"]),
            histograms=_to_histograms(document["histograms"]),
            equalized=bool(document["equalized"]),
            balance=balanced,
        )
    except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise BadFileError(f"{path}: damaged statistics ({error}); calibrate again") from error
    if document.get("graph") != digest(spelled):
        raise BadFileError(
            f"{path} was calibrated on another network, other weights, or with the other choice of "
            "--split; calibrate this one with `edgesr quantize calibrate`"
        )
    return statistics


def digest(graph: fx.GraphModule) -> str:
    """A hash of operators and constants, by which statistics know their graph."""
    found = hashlib.sha256()
    for node in graph.graph.nodes:
        value = constant_of(graph, node)
        # Equalization is a chain of float64 products; other machines may differ in the last bit.
        text = str(node.target) if value is None else f"{float(value.double().abs().sum()):.5g}"
        found.update(f"{node.op} {text};".encode())
    return found.hexdigest()[:16]


@dataclass
class _Run:
    """An unfinished calibration."""

    graph: fx.GraphModule
    photos: Photos
    equalized: bool
    costs: Sequence[float]
    channels: Extremes = field(default_factory=dict)
    histograms: dict[str, Histogram] | None = None
    done: int = 0
    """Patches, in the pass that `histograms` tells: None is the first."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT + "-part",
            "graph": self._before,
            "images": self.photos.hashes,
            "equalized": self.equalized,
            "done": self.done,
            "channels": _from_extremes(self.channels),
            "histograms": self.histograms and _from_histograms(self.histograms),
        }

    def __post_init__(self) -> None:
        check(self.graph)
        self._before = digest(self.graph)

    def resume(self, part: Path) -> None:
        """Take over what an earlier run of the same graph on the same images left."""
        if not part.exists():
            return
        try:
            document = _document(part, FORMAT + "-part")
            same = (self._before, self.photos.hashes, self.equalized)
            if (document["graph"], document["images"], document["equalized"]) != same:
                return
            self.channels = _to_extremes(document["channels"])
            if document["histograms"]:
                self.histograms = _to_histograms(document["histograms"])
            self.done = int(document["done"])
        except (BadFileError, KeyError, TypeError, ValueError):
            return  # an unfinished file is worth no error: start over


def _finish(run: _Run, network: Network, report: Report) -> Statistics:
    photos = run.photos
    if run.histograms is None:
        observe_channels(run.graph, network, photos, run.channels, start=run.done, report=report)
        run.done = 0
    extremes, classes = dict(run.channels), classes_of(run.graph)
    samples = sample(run.graph, network, photos.patches)
    balanced = balanced_by_trial(
        run.graph, network, photos, classes, extremes, samples, equalized=run.equalized,
        costs=run.costs,
    )  # fmt: skip
    equalize(run.graph, classes, balanced.factors, extremes)
    if run.histograms is None:
        run.histograms = {
            name: Histogram(float(low.min()), float(high.max()))
            for name, (low, high) in extremes.items()
        }
    observe_values(run.graph, network, photos, run.histograms, start=run.done, report=report)
    return Statistics(
        run.graph, photos, len(photos.patches), run.histograms, run.equalized, balanced
    )


def _document(path: Path, wanted: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadFileError(f"{path}: no readable statistics ({error}); calibrate again") from error
    if not isinstance(document, dict) or document.get("format") != wanted:
        raise BadFileError(f"{path} is no file of `edgesr quantize calibrate` ({wanted})")
    return document


def _from_extremes(extremes: Extremes) -> dict[str, Any]:
    return {name: [low.tolist(), high.tolist()] for name, (low, high) in extremes.items()}


def _to_extremes(document: dict[str, Any]) -> Extremes:
    return {name: (np.array(low), np.array(high)) for name, (low, high) in document.items()}


def _from_histograms(histograms: dict[str, Histogram]) -> dict[str, Any]:
    return {
        name: {
            "low": seen.low,
            "high": seen.high,
            "counts": seen.counts.astype(int).tolist(),
            "extremes": seen.extremes,
        }
        for name, seen in histograms.items()
    }


def _to_histograms(document: dict[str, Any]) -> dict[str, Histogram]:
    return {
        name: Histogram(
            seen["low"],
            seen["high"],
            np.array(seen["counts"], np.float64),
            [(low, high) for low, high in seen["extremes"]],
        )
        for name, seen in document.items()
    }


def _to_text(patch: Image) -> str:
    buffer = io.BytesIO()
    Pillow.fromarray(patch).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _to_image(text: str) -> Image:
    image: Image = np.array(Pillow.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
    return image

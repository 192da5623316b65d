"""What stands for a network in int8: our PTQ, plain and split, our QAT, its authors' files.

Each says what it was made from, so that a figure is measured again when, and only when, weights,
images or the code that decides have changed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import edgesr.quantize
from edgesr.benchmarks.peers.tflite_file import Model
from edgesr.benchmarks.quality import on_rgb
from edgesr.benchmarks.subjects import Subject, published_file
from edgesr.export.pipeline import prepare
from edgesr.export.writers import WRITERS, Form
from edgesr.quantize import QuantizedGraph, integer, quantize, store
from edgesr.quantize.ptq import Recipe
from edgesr.quantize.split import splits

from edgesr.data.datasets import pixel_hash
from edgesr.data.images import Image
from edgesr.evaluate import Upscaler
from edgesr.manifest import sha256_of
from edgesr.network import Network

_DECIDES_NOTHING = {"fake.py", "qat.py", "store.py"}
"""Files of `quantize/` that PTQ does not pass through."""


@dataclass(frozen=True)
class Candidate:
    """One way to have the network in int8.

    Attributes:
        name: `ptq`, `split`, `qat`, or a published file's name.
        made_from: hash of everything that decides its pixels.
        make: quantize or open it; called at most once.
    """

    name: str
    made_from: str
    make: Callable[[], Made]


@dataclass(frozen=True)
class Made:
    """A candidate, ready to run."""

    run: Upscaler
    quantized: QuantizedGraph | None = None
    """For ours: `run` is then the integer reference."""

    @property
    def steps(self) -> list[str]:
        """What was done to reach these integers."""
        return list(self.quantized.calibration.get("steps", [])) if self.quantized else []


def candidates_for(
    subject: Subject,
    network: Network,
    calibration: Sequence[Image],
    *,
    qat: Path | None = None,
    keep: Path | None = None,
    with_split: bool = False,
) -> list[Candidate]:
    """Ours first.

    Args:
        calibration: photos for PTQ.
        qat: our fine-tuned network as `.int8.safetensors`; None leaves it out.
        keep: folder in which PTQ's results wait for the next run.
        with_split: also PTQ of the split form, where there is one.
    """
    base = network.fingerprint()
    photos = [pixel_hash(image) for image in calibration]
    ptq = _digest(base, _code(), *photos)
    found = [Candidate("ptq", ptq, lambda: _ptq(network, calibration, Recipe(), keep, ptq))]
    if with_split and splits(prepare(network)[0]):
        made_from, recipe = _digest(ptq, "split"), Recipe(split=True)
        found.append(
            Candidate(
                "split", made_from, lambda: _ptq(network, calibration, recipe, keep, made_from)
            )
        )
    if qat is not None:
        file = qat
        found.append(Candidate("qat", _digest(base, sha256_of(file)), lambda: _stored(file)))
    for name in subject.published:
        path = published_file(name)
        found.append(
            Candidate(path.name, _digest(base, sha256_of(path)), lambda path=path: _file(path))  # type: ignore[misc]
        )
    return found


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _code() -> str:
    folder = Path(edgesr.quantize.__file__).parent
    return sha256_of(*sorted(p for p in folder.glob("*.py") if p.name not in _DECIDES_NOTHING))


def _ptq(
    network: Network, calibration: Sequence[Image], recipe: Recipe, keep: Path | None, name: str
) -> Made:
    kept = keep / f"{name[:32]}{store.SUFFIX}" if keep else None
    if kept is not None and kept.exists():
        return _stored(kept)
    graph, plain, _ = prepare(network)
    quantized = quantize(graph, plain, calibration, recipe=recipe)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        store.save(quantized, kept)
    return _reference(quantized)


def _stored(path: Path) -> Made:
    return _reference(store.read(path))


def _reference(quantized: QuantizedGraph) -> Made:
    run = on_rgb(lambda image: integer.run(quantized, image), quantized.network)
    return Made(run, quantized)


def _file(path: Path) -> Made:
    return Made(Model(path, threads=1).run)


def litert(quantized: QuantizedGraph, image: Image) -> Image:
    """The same integers in a TFLite file of the image's size, run by LiteRT."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        shape = (image.shape[0], image.shape[1])
        WRITERS["tflite"](quantized, quantized.network, path, shape, Form("int8"))
        return on_rgb(Model(path, threads=1).run, quantized.network)(image)

"""The same crop of one photo as the artifacts enlarge it: what a number hides, an eye finds."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgesr.benchmarks.panel import busiest_crop
from PIL import Image as Pillow

from edgesr.data.bicubic import imresize
from edgesr.data.datasets import dataset
from edgesr.data.images import Image
from edgesr.errors import BadFileError, EdgesrError
from edgesr.evaluate import low_resolution
from edgesr.manifest import Manifest, manifest_path, read_manifest
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.runtime import open_session, upscale
from edgesr.runtime.session import is_artifact

SIDE = 180
"""Of the crops, in pixels of the original."""
PHOTO = "gates"
"""Of the shipped evaluation photos: straight edges and foliage."""
_ORDER = ("fp32", "fp16", "int8", "int16x8")

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    pass


@dataclass(frozen=True)
class Picture:
    """One crop.

    Attributes:
        name: `original`, `bicubic`, or what enlarged it.
        db: of the whole photo against the original; None for the original.
        uri: lossless WebP as `data:`.
    """

    name: str
    db: float | None
    uri: str


@dataclass(frozen=True)
class Panel:
    """The crops of one network, original first."""

    network: str
    scale: int
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


def make_panels(
    folder: Path, measured: dict[str, set[str]], *, photo: Path | None = None, say: Say = _silent
) -> list[Panel]:
    """Enlarge one photo with the artifacts of a folder.

    Args:
        folder: of exported files with their manifests.
        measured: network to the hashes of its files in the results; others are not looked at.
        photo: an original; None takes a shipped evaluation photo.
        say: told what is going on.

    Returns:
        One panel per network that has artifacts here; a file that does not run is named in its
        notes.

    Raises:
        BadFileError: no such folder, or the photo is none.
    """
    if not folder.is_dir():
        raise BadFileError(f"{folder} is no folder; --artifacts names the one of exported files")
    name, original = next(iter(dataset(photo))) if photo else _shipped()
    panels = []
    for network, chosen in choose(folder, measured).items():
        say(f"enlarging {name} with {network}")
        panels.append(_panel(network, chosen, original, name, measured[network]))
    return panels


def choose(folder: Path, measured: dict[str, set[str]]) -> dict[str, dict[str, Path]]:
    """By network, then by precision: one file each; those in the results go first."""
    found: dict[str, dict[str, tuple[bool, bool, Path]]] = {}
    for path in sorted(folder.rglob("*")):
        if not (is_artifact(path) and manifest_path(path).exists()):
            continue
        try:
            manifest = read_manifest(path)
        except BadFileError:
            continue
        if manifest.network not in measured or not isinstance(manifest.scale, int):
            continue
        known = manifest.sha256 in measured[manifest.network]
        rank = (not known, path.suffix != ".tflite", path)
        files = found.setdefault(manifest.network, {})
        if manifest.precision not in files or rank < files[manifest.precision]:
            files[manifest.precision] = rank
    return {
        network: {p: files[p][2] for p in sorted(files, key=_place_of)}
        for network, files in found.items()
    }


def _place_of(precision: str) -> tuple[int, str]:
    return (_ORDER.index(precision) if precision in _ORDER else len(_ORDER), precision)


def _shipped() -> tuple[str, Image]:
    return next((name, image) for name, image in dataset("samples") if name == PHOTO)


def _panel(
    network: str, files: dict[str, Path], original: Image, photo: str, hashes: set[str]
) -> Panel:
    manifests: dict[str, Manifest] = {p: read_manifest(path) for p, path in files.items()}
    scale = next(iter(manifests.values())).scale
    assert isinstance(scale, int)  # `choose` leaves the others out
    low, high = low_resolution(original, scale)
    results: dict[str, Image] = {"bicubic": imresize(low, scale)}
    notes = [f"{photo}, x{scale}; dB of the whole photo: {LITERATURE}."]
    others, mirrored = [], []
    for precision, path in files.items():
        facts = manifests[precision]
        try:
            results[f"{precision}, {facts.target}"] = upscale(open_session(path), low)
        except EdgesrError as error:
            notes.append(f"{path.name} did not run: {error}")
            continue
        if facts.sha256 not in hashes:
            others.append(path.name)
        if (facts.height or 0) > low.shape[0] or (facts.width or 0) > low.shape[1]:
            mirrored.append(path.name)
    if others:
        notes.append(f"Not the very file that was timed: {', '.join(others)}.")
    if mirrored:
        notes.append(f"The photo was mirrored to fill the input of {', '.join(mirrored)}.")
    top, left = busiest_crop(high, SIDE)
    window = (slice(top, top + SIDE), slice(left, left + SIDE))
    pictures = [Picture("original", None, data_uri(high[window]))]
    pictures += [
        Picture(name, psnr(image, high, scale), data_uri(image[window]))
        for name, image in results.items()
    ]
    return Panel(network, scale, tuple(pictures), tuple(notes))


def data_uri(picture: Image) -> str:
    """A lossless WebP of uint8 HxWx3, for `<img src>`."""
    stored = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(picture)).save(stored, "WEBP", lossless=True, quality=80)
    return "data:image/webp;base64," + base64.b64encode(stored.getvalue()).decode()

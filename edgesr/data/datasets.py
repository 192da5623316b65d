"""Image sets by name or folder.

    for name, image in dataset("set14"): ...
    for name, image in dataset("path/to/photos"): ...

`samples` comes with edgesr. The benchmarks of the literature may not be redistributed; they are
looked for under the folders that EDGESR_DATA and EDGESR_PACK name (several are separated by `:`),
as `NAME/`, `eval/NAME/`, `val/NAME/`, with the same below `data/`, or in a subfolder `HR` or
`original` of these:

    $EDGESR_DATA/Set5/baby.png
    $EDGESR_DATA/Set14/baboon.png ...
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.data.images import SUFFIXES, Image, read_image
from edgesr.errors import BadFileError, UsageError

SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Benchmark:
    """A test set of the literature: the folder names it goes by, and how many images it has."""

    folders: tuple[str, ...]
    count: int


BENCHMARKS = {
    "set5": Benchmark(("Set5",), 5),
    "set14": Benchmark(("Set14",), 14),
    "b100": Benchmark(("B100", "BSD100", "BSDS100"), 100),
    "kodak24": Benchmark(("Kodak24", "Kodak"), 24),
    "mcmaster18": Benchmark(("McM18", "McMaster18", "McMaster", "McM"), 18),
}
NAMES = (*BENCHMARKS, "samples")


@dataclass(frozen=True)
class Dataset:
    """Named image files, read when they are asked for."""

    name: str
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> tuple[str, ...]:
        """File names, without suffix where that is enough to tell them apart."""
        stems = [path.stem for path in self.paths]
        unique = len(set(stems)) == len(stems)
        return tuple(stems if unique else (path.name for path in self.paths))

    def __iter__(self) -> Iterator[tuple[str, Image]]:
        """Label, and uint8 HxWx3; grey is replicated, alpha left out.

        Raises:
            BadFileError: an image cannot be read.
        """
        for label, path in zip(self.labels, self.paths, strict=True):
            yield label, read_image(path).pixels


def dataset(name: str | Path) -> Dataset:
    """The set called `name`, or the images of a folder (not of its subfolders), or one image.

    Raises:
        UsageError: neither a known name nor a path that exists.
        BadFileError: the set is not on this machine or incomplete; the folder holds no image.
    """
    text = str(name)
    if text == "samples":
        return Dataset(text, _images_in(SAMPLES / "evaluation"))
    if text.lower() in BENCHMARKS:
        return _benchmark(text.lower())
    path = Path(text)
    if path.is_file():
        return Dataset(path.stem, (path,))
    if not path.is_dir():
        close = difflib.get_close_matches(text.lower(), NAMES, n=1)
        hint = f"; did you mean `{close[0]}`?" if close else f"; known sets: {', '.join(NAMES)}"
        raise UsageError(f"no image set and no folder called `{text}`{hint}")
    return Dataset(path.resolve().name, _images_in(path))


def calibration_samples() -> Iterator[Image]:
    """The shipped photos that int8 exports are calibrated on; none of them is in `samples`."""
    return (image for _, image in Dataset("calibration", _images_in(SAMPLES / "calibration")))


def calibration_images(folder: Path) -> Iterator[Image]:
    """The images of a folder of the user's.

    Raises:
        UsageError, BadFileError: as `dataset`, at once; a broken image when its turn comes.
    """
    images = dataset(folder)
    return (image for _, image in images)


def pixel_hash(image: Image) -> str:
    """SHA-256 over shape and pixels: the same picture in another file format is the same."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _images_in(folder: Path) -> tuple[Path, ...]:
    found = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES))
    if not found:
        below = [p.parent for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES]
        hint = f"; there are some in {min(below)}" if below else f" ({', '.join(sorted(SUFFIXES))})"
        raise BadFileError(f"no images in {folder}{hint}")
    return found


def _benchmark(name: str) -> Dataset:
    known = BENCHMARKS[name]
    for folder in _candidates(known.folders):
        if folder.is_dir():
            paths = _images_in(folder)
            if len(paths) != known.count:
                raise BadFileError(
                    f"{folder} holds {len(paths)} images, {name} has {known.count}: a figure on "
                    "another set would not be comparable (give the folder itself to use it as is)"
                )
            return Dataset(name, paths)
    roots = ", ".join(map(str, _roots())) or "EDGESR_DATA is not set"
    raise BadFileError(
        f"{name} is not on this machine ({roots}): put its original images in "
        f"$EDGESR_DATA/{known.folders[0]}, or give a folder"
    )


def _roots() -> list[Path]:
    named = (os.environ.get(variable, "") for variable in ("EDGESR_DATA", "EDGESR_PACK"))
    return [Path(root) for value in named for root in value.split(os.pathsep) if root]


def _candidates(folders: tuple[str, ...]) -> Iterator[Path]:
    for root in _roots():
        for above in ("", "eval", "val", "data", "data/eval", "data/val"):
            for folder in folders:
                for inside in ("HR", "original", ""):
                    yield root / above / folder / inside

"""Random training patches from a memory-mapped cache of decoded images.

Decoding and resizing cost more than a training step of a mobile network, so both happen once:
all images lie end to end in one file, their low-resolution versions in another, and every training
process maps the same pages.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.colour import split
from edgesr.data.images import written_beside
from edgesr.data.sources import Photo, photos
from edgesr.errors import BadFileError, UsageError
from edgesr.manifest import write_atomically

_SMALLEST = 64
"""Images whose low-resolution version has a shorter side than this are left out."""


def find_images(folders: Sequence[Path]) -> list[Path]:
    """All image files below `folders`, sorted.

    Raises:
        BadFileError: a folder is missing, or there is no image.
    """
    return [photo.path for photo in photos(folders)]


class PatchCache:
    """HR images and their MATLAB-bicubic LR versions at one scale, memory-mapped.

    Args:
        folders: searched for images; LMDB databases of `edgesr.data.sources.pack` count as such.
        scale: enlargement to train for.
        cache: folder for the decoded copies; reused when files, scale and `megapixels` are the
            same.
        kept: how many images, evenly spread over the list, are kept from `batch` and given by
            `held_out`: to validate on.
        megapixels: images of more are reduced to as many, before anything else; 0 leaves them.

    Raises:
        BadFileError: no folder, no image, a corrupt one, or all are too small.
        EnvironmentLimitError: the disk is full.
    """

    def __init__(
        self, folders: Sequence[Path], scale: int, cache: Path, *, kept: int = 0,
        megapixels: float = 0.0,
    ) -> None:  # fmt: skip
        self.scale = scale
        self.megapixels = megapixels
        found = photos(folders)
        # Without a limit, the name of caches that are older than it.
        wanted = [scale, megapixels] if megapixels else [scale]
        listing = json.dumps([[photo.name, photo.size] for photo in found] + wanted)
        stem = cache / f"x{scale}-{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
        index = stem.with_suffix(".json")
        if not index.exists():
            cache.mkdir(parents=True, exist_ok=True)
            _build(found, scale, stem, megapixels)
        self.shapes: list[tuple[int, int]] = [tuple(s) for s in json.loads(index.read_text())]
        self.stem = stem
        self._hr = np.memmap(stem.with_suffix(".hr"), np.uint8, "r")
        self._lr = np.memmap(stem.with_suffix(".lr"), np.uint8, "r")
        self._labels = self._hr
        pixels = np.array([h * w for h, w in self.shapes], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(pixels)]) * 3  # in LR bytes
        self._kept = np.unique(np.linspace(0, len(pixels) - 1, kept).astype(int))
        pixels[self._kept] = 0
        if not pixels.any():
            raise BadFileError(f"{len(pixels)} images are too few to keep {kept} for validation")
        self._share = pixels / pixels.sum()
        drawn = [shape for shape, count in zip(self.shapes, pixels, strict=True) if count]
        self._largest_patch = min(map(min, drawn))

    def batch(self, step: int, size: int, patch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """LR and HR patches of one step, in [0, 1], channels last in memory.

        Args:
            step: together with `seed` decides the batch, so a resumed run sees the same data.
            size: patches per batch.
            patch: side of the LR patch in pixels.

        Raises:
            UsageError: a patch larger than the smallest image.
        """
        if patch > self._largest_patch:
            raise UsageError(
                f"a patch of {patch} does not fit into the smallest image, whose shorter side is "
                f"{self._largest_patch} pixels at low resolution; choose a smaller patch"
            )
        rng = np.random.default_rng([seed, step])
        pairs = [self._pair(rng, patch) for _ in range(size)]
        lr, hr = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
        return (lr.permute(0, 3, 1, 2).float() / 255, hr.permute(0, 3, 1, 2).float() / 255)

    def labelled(self, file: Path) -> PatchCache:
        """The same photos with other images to learn, laid out as the originals: end to end.

        Raises:
            BadFileError: a file of another size than theirs.
        """
        other = copy.copy(self)
        other._labels = np.memmap(file, np.uint8, "r")
        if other._labels.size != self._hr.size:
            raise BadFileError(
                f"{file} holds {other._labels.size:,} bytes, its photos {self._hr.size:,}; delete "
                "it, and it is made again"
            )
        return other

    def images(
        self, first: int = 0
    ) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
        """The images from `first` on, kept ones too, uint8 HxWx3: low resolution and original."""
        return (self._whole(image) for image in range(first, len(self.shapes)))

    def held_out(self) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
        """The images kept from training, uint8 HxWx3: low resolution and original."""
        return [self._whole(int(image)) for image in self._kept]

    def contains(self, image: npt.NDArray[np.uint8]) -> bool:
        """Whether an image, uint8 HxWx3, is one of these, reduced as these are."""
        hr = crop_to_multiple(_reduced(image, self.megapixels), self.scale)
        size = tuple(side // self.scale for side in hr.shape[:2])
        same = (self._whole(i)[1] for i, shape in enumerate(self.shapes) if shape == size)
        return any(np.array_equal(one[0], hr[0]) and np.array_equal(one, hr) for one in same)

    def _pair(
        self, rng: np.random.Generator, patch: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        s = self.scale
        image = int(rng.choice(len(self.shapes), p=self._share))
        height, width = self.shapes[image]
        lr, hr = self._whole(image, self._labels)
        y, x = int(rng.integers(height - patch + 1)), int(rng.integers(width - patch + 1))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))

        def view(image: npt.NDArray[np.uint8], k: int) -> npt.NDArray[np.uint8]:
            cut = np.rot90(image[y * k : (y + patch) * k, x * k : (x + patch) * k], turns)
            return np.ascontiguousarray(cut[:, ::-1] if mirrored else cut)

        return view(lr, 1), view(hr, s)

    def _whole(
        self, image: int, large: npt.NDArray[np.uint8] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        large = self._hr if large is None else large
        s, (height, width), start = self.scale, self.shapes[image], self._starts[image]
        length = height * width * 3
        lr = self._lr[start : start + length].reshape(height, width, 3)
        hr = large[start * s**2 : (start + length) * s**2].reshape(height * s, width * s, 3)
        return lr, hr


def luma(rgb: Tensor) -> Tensor:
    """What a luma network sees of RGB patches in [0, 1]: Y rounded to 8 bits, over 255."""
    pixels = torch.round(rgb * 255).byte().permute(0, 2, 3, 1).numpy()
    return torch.from_numpy(split(pixels)[0]).permute(0, 3, 1, 2).float() / 255


def _reduced(image: npt.NDArray[np.uint8], megapixels: float) -> npt.NDArray[np.uint8]:
    height, width, _ = image.shape
    factor = (megapixels * 1e6 / (height * width)) ** 0.5
    return imresize(image, factor) if 0 < factor < 1 else image


def _build(found: Sequence[Photo], scale: int, stem: Path, megapixels: float) -> None:
    shapes = []
    with (
        written_beside(stem.with_suffix(".hr")) as hr_file,
        written_beside(stem.with_suffix(".lr")) as lr_file,
    ):
        for photo in found:
            hr = crop_to_multiple(_reduced(photo.read(), megapixels), scale)
            lr = imresize(hr, 1 / scale) if min(hr.shape[:2]) >= scale else hr[:0]
            if min(lr.shape[:2]) < _SMALLEST:
                continue
            shapes.append(lr.shape[:2])
            hr_file.write(np.ascontiguousarray(hr).tobytes())
            lr_file.write(lr.tobytes())
    if not shapes:
        raise BadFileError(
            f"all {len(found)} images are too small: training at x{scale} needs sides of at least "
            f"{_SMALLEST * scale} pixels"
            + (f", also after `megapixels = {megapixels:g}`" if megapixels else "")
        )
    # Written last: an index says the two files are whole.
    write_atomically(stem.with_suffix(".json"), json.dumps(shapes).encode())

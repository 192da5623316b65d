"""How much quality a quantized network loses: it, and its float self, on the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from edgesr.data import colour
from edgesr.data.images import Image
from edgesr.evaluate import Upscaler, low_resolution
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.network import Network

PROTOCOL = f"{LITERATURE}; against fp32: RGB, whole images, squared differences pooled"

Watch = Callable[[str, Image, dict[str, Image]], None]


@dataclass(frozen=True)
class Quality:
    """Figures of one network in one precision on one set of images."""

    images: tuple[str, ...]
    psnr: tuple[float, ...]
    """dB against the originals, one per image."""
    noise: float
    """Mean squared difference from the fp32 network's pixels; 0 for itself."""

    @property
    def mean(self) -> float:
        """Arithmetic mean of `psnr`, as papers take it."""
        return fmean(self.psnr)

    @property
    def against_fp32(self) -> float | None:
        """dB against the fp32 network's pixels; None when identical."""
        return float(10 * np.log10(255**2 / self.noise)) if self.noise else None


def on_rgb(run: Upscaler, network: Network) -> Upscaler:
    """`run` on whole RGB images; a luma network gets Y, and chroma is enlarged with bicubic."""
    if network.colour == "rgb":
        return run

    def enlarge(image: Image) -> Image:
        luma, chroma = colour.split(image)
        return colour.join(run(luma), chroma)

    return enlarge


def judge(
    fp32: Upscaler,
    others: Mapping[str, Upscaler],
    data: Iterable[tuple[str, Image]],
    scale: int,
    *,
    watch: Watch | None = None,
) -> tuple[Quality, dict[str, Quality]]:
    """Run all on every image once.

    Args:
        fp32: the network as it was trained; uint8 HxWx3 to its enlargement.
        others: what stands for it, by name.
        data: label and original; each is cropped to the scale and shrunk by MATLAB's bicubic.
        watch: called for every image with its label, the shrunk image and the others' results.

    Returns:
        Quality of fp32, and of the others by name.
    """
    labels: list[str] = []
    exact: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in others}
    squares, values = dict.fromkeys(others, 0.0), 0
    for label, original in data:
        low, high = low_resolution(original, scale)
        reference = fp32(low)
        results = {name: upscaler(low) for name, upscaler in others.items()}
        labels.append(label)
        exact.append(psnr(reference, high, scale))
        values += reference.size
        for name, result in results.items():
            found[name].append(psnr(result, high, scale))
            difference = result.astype(np.int32) - reference
            squares[name] += float(np.square(difference).sum())
        if watch is not None:
            watch(label, low, results)
    images = tuple(labels)
    return Quality(images, tuple(exact), 0.0), {
        name: Quality(images, tuple(found[name]), squares[name] / values) for name in others
    }

"""The proof that collapsing changed nothing: both networks run in float64, and compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from edgesr.network import Network

EXACT = 1e-9
"""Largest relative float64 difference of what is called exact."""


@dataclass(frozen=True)
class Kept:
    """A place that stays as it is, since collapsing it would change pixels near the border."""

    place: str
    """The layer whose zero padding is the reason."""
    inner: str
    """The layer before it, which is not zero outside the image."""
    border: float
    """By how much collapsing would change that layer's output at the border, relative to its
    largest value."""

    def __str__(self) -> str:
        return (
            f"`{self.place}` stays apart from `{self.inner}`, whose value is not zero where "
            f"`{self.place}` pads with zeros: as one convolution the border would differ by "
            f"{self.border:.1e} of the largest value (--allow-border accepts that)"
        )


@dataclass(frozen=True)
class Certificate:
    """What was compared, and how far apart the two are.

    Differences are the largest absolute difference over the largest absolute output.
    """

    interior: float
    """float64, output pixels that no padding reaches."""
    border: float
    """float64, the others."""
    band: int
    """How many input pixels at each side count as border."""
    rounding: float
    """What rounding the weights to float32, and running in it, then changes; all pixels."""
    images: tuple[str, ...]
    """Kind and size of the inputs compared."""
    convs_before: int
    convs_after: int
    macs_before: int
    """Multiply-accumulates for an output of 1280x720."""
    macs_after: int
    parameters_before: int
    parameters_after: int
    rules: tuple[str, ...] = ()
    """What was folded, and how often: `batch_norm 4`."""
    kept: tuple[Kept, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether this is the same function, up to rounding of float64, borders included."""
        return self.interior <= EXACT and self.border <= EXACT

    def summary(self) -> list[str]:
        """What a user should know, in sentences; the first is always there."""
        word = "exact" if self.exact else "not exact"
        return [
            f"collapse: {self.convs_before} -> {self.convs_after} convolutions, "
            f"{self.macs_before / 1e9:.2f} -> {self.macs_after / 1e9:.2f} GMAC for 1280x720, "
            f"{word} (float64 difference {self.interior:.0e} inside, {self.border:.0e} at the "
            "border)",
            *self.remarks(),
        ]

    def details(self) -> list[str]:
        """The differences and what they were measured on."""
        word = "exact" if self.exact else f"not exact (allowed: {EXACT:.0e})"
        folded = ", ".join(self.rules) or "nothing: there was nothing to fold"
        return [
            f"folded: {folded}",
            f"difference in float64: {self.interior:.1e} inside, {self.border:.1e} in the outer "
            f"{self.band} pixels, relative to the largest output: {word}",
            f"with weights rounded to float32: {self.rounding:.1e}",
            f"compared on: {', '.join(self.images)}",
        ]

    def remarks(self) -> list[str]:
        """What was kept and why; what else happened."""
        return [*map(str, self.kept), *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {"exact": self.exact, **asdict(self)}


@dataclass(frozen=True)
class Difference:
    """Largest relative differences over a few images."""

    interior: float
    border: float

    @property
    def largest(self) -> float:
        return max(self.interior, self.border)


def run(
    network: Callable[[Tensor], Tensor],
    images: Sequence[Tensor],
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Outputs in float64 of a network that runs in `dtype`."""
    with torch.no_grad():
        return [network(image.to(dtype)).to(torch.float64) for image in images]


def compare(
    expected: Sequence[Tensor], found: Sequence[Tensor], images: Sequence[Tensor], *, band: int
) -> Difference:
    """The largest differences between the outputs of two networks for the same images.

    Args:
        band: input pixels at each side that count as border.
    """
    interior = border = 0.0
    for image, ours, theirs in zip(images, expected, found, strict=True):
        if ours.shape != theirs.shape:
            return Difference(math.inf, math.inf)
        error = (ours - theirs).abs() / ours.abs().max().clamp_min(1e-30)
        rows, columns = (
            -(-band * out // size)
            for out, size in zip(ours.shape[2:], image.shape[2:], strict=True)
        )
        inner = torch.zeros_like(error, dtype=torch.bool)
        inner[:, :, rows : error.shape[2] - rows, columns : error.shape[3] - columns] = True
        interior = max(interior, _largest(error[inner]))
        border = max(border, _largest(error[~inner]))
    return Difference(interior, border)


def example_images(network: Network, band: int) -> Iterator[tuple[str, Tensor]]:
    """Edges, a flat bright image (borders show) and noise; float64, 1 x C x H x W."""
    multiple = network.pad_multiple

    def size(least: int) -> int:
        sides = -(-max(least, 2 * band + least // 3) // multiple)
        return (sides + (sides % 2 == 0)) * multiple

    generator = torch.Generator().manual_seed(0)

    def noise(height: int, width: int) -> Tensor:
        shape = (1, network.channels, size(height), size(width))
        return torch.rand(shape, generator=generator, dtype=torch.float64) * network.value_range

    edges = noise(33, 41)
    stripes = torch.arange(edges.shape[3]) // 5 % 2
    yield "edges", 0.2 * edges + 0.8 * stripes * network.value_range
    yield "bright", 0.05 * noise(35, 33) + 0.95 * network.value_range
    yield "noise", noise(33, 37)


def _largest(error: Tensor) -> float:
    """The maximum; NaN counts as the largest difference there is."""
    if error.numel() == 0:
        return 0.0
    return math.inf if bool(error.isnan().any()) else float(error.max())

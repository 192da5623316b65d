"""Which parts of which image are looked at: tiles with their halo, until the time is up.

Memory stays that of one tile whatever the image. Where a tile reads the halo its receptive field
needs, its pixels are those of the whole image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgesr.analysis import receptive_field
from edgesr.data.images import Image
from edgesr.errors import UsageError
from edgesr.network import Network
from edgesr.runtime.tiles import LEAST_SIDE, Span, Tiling, make_plan

CORE = 112
"""LR pixels per side that a tile contributes: a few hundred MB for the widest networks."""
SMALLEST = LEAST_SIDE
"""LR pixels per side: networks that pool cannot run on less, and less holds no flat area."""


@dataclass(frozen=True)
class Budget:
    """How much work an examination may be. At least one tile of the first image is looked at."""

    seconds: float = 60.0
    """For tiles and probes together."""
    tiles_per_image: int = 400


@dataclass(frozen=True)
class Sample:
    """One image to examine."""

    name: str
    lr: Image
    """uint8 HxWx3."""
    hr: Image | None = None
    """Ground truth, uint8 sHxsWx3."""


@dataclass(frozen=True)
class Window:
    """A tile: what is read and what of it counts, in LR pixels."""

    rows: Span
    columns: Span

    def of(self, image: Image) -> Image:
        """What the network reads."""
        return image[self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]


class Clock:
    """Counts down the budget, and shares what is left among the images to come."""

    def __init__(self, seconds: float) -> None:
        self.start = time.monotonic()
        self.end = self.start + seconds

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds; negative when over."""
        return self.end - time.monotonic()


def tiling_of(network: Network) -> Tiling:
    """How this network's input may be cut; the network must be a graph (collapsed)."""
    halo = receptive_field(network).halo if network.exact_tiling else None
    return Tiling(multiple=network.pad_multiple, halo=halo)


def windows(image: Image, tiling: Tiling, most: int) -> tuple[list[Window], int]:
    """Tiles of an image: busiest, flattest, second busiest ...; and how many there are.

    Args:
        image: sides divide by the tiling's multiple.
        most: tiles to return.

    Raises:
        UsageError: the image is too small to say anything about.
    """
    check_size(image)
    plan = make_plan(image.shape[0], image.shape[1], tiling, CORE)
    found = [Window(row, column) for row in plan.rows for column in plan.columns]
    order = sorted(found, key=lambda window: _texture(window.of(image)), reverse=True)
    mixed = [order[i // 2] if i % 2 == 0 else order[-1 - i // 2] for i in range(len(order))]
    return mixed[:most], len(found)


def check_size(image: Image) -> None:
    """Refuse a low-resolution image that is too small.

    Raises:
        UsageError: a side is below `SMALLEST`.
    """
    if min(image.shape[:2]) < SMALLEST:
        raise UsageError(
            f"an input of {image.shape[1]}x{image.shape[0]} is too small to examine; both sides "
            f"need {SMALLEST} low-resolution pixels"
        )


def take(found: list[Window], clock: Clock, share: float) -> Iterator[Window]:
    """The first window, and others while this image's share of the time lasts."""
    end = time.monotonic() + share
    for number, window in enumerate(found):
        if number and (time.monotonic() > end or clock.left < 0):
            return
        yield window


def _texture(tile: Image) -> float:
    values = tile.astype(np.int16)
    return float(np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=0)).mean())

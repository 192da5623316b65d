"""The plain family as a grid: convolutions between the first and the last, and their channels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True, order=True)
class Member:
    """One size of the plain network."""

    depth: int
    """Convolutions between the first and the last."""
    channels: int

    def name(self, scale: int) -> str:
        """As the registry knows it: `plain-d5c28-x3`."""
        return f"plain-d{self.depth}c{self.channels}-x{scale}"


@dataclass(frozen=True)
class Space:
    """The sizes to choose from, ascending."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def members(self) -> list[Member]:
        """All of them, the smallest first."""
        return [Member(*sizes) for sizes in product(self.depths, self.channels)]

    @property
    def probes(self) -> list[Member]:
        """The handful to time first: two depths of up to four widths, each about twice the last.

        Time grows along a line with depth, so two depths tell the rest.
        """
        ends = sorted({self.depths[0], self.depths[len(self.depths) // 2]})
        wanted = np.geomspace(self.channels[0], self.channels[-1], 4)
        widths = sorted({min((abs(c - w), c) for c in self.channels)[1] for w in wanted})
        return [Member(depth, width) for depth, width in product(ends, widths)]


SPACE = Space(tuple(range(2, 13)), tuple(range(8, 65, 8)))
"""Widths are multiples of 8: kernels and NPUs compute 8 channels or more at once."""

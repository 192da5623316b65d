"""Padding: torch says how many zeros, TFLite says SAME or VALID."""

from __future__ import annotations

from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

SAME: int = schema.Padding.SAME
VALID: int = schema.Padding.VALID


@dataclass(frozen=True)
class Window:
    """A sliding window along one axis."""

    size: int
    """Of the map."""
    kernel: int
    stride: int
    dilation: int
    before: int
    """Zeros torch puts before the map."""
    outputs: int

    @property
    def extent(self) -> int:
        """From the first tap to the last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def after(self) -> int:
        """Zeros the last output reaches behind the map; negative if it does not reach its end."""
        return (self.outputs - 1) * self.stride + self.extent - self.size - self.before

    def fits(self, scheme: int) -> bool:
        """Whether SAME or VALID puts the same windows at the same places."""
        if scheme == VALID:
            return self.before == 0 and self.outputs == (self.size - self.extent) // self.stride + 1
        total = max((self.outputs - 1) * self.stride + self.extent - self.size, 0)
        return self.outputs == -(-self.size // self.stride) and total // 2 == self.before


def scheme_for(rows: Window, columns: Window) -> int | None:
    """SAME, VALID, or None when the zeros must be written out."""
    for scheme in (SAME, VALID):
        if rows.fits(scheme) and columns.fits(scheme):
            return scheme
    return None

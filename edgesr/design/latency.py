"""How long any size takes, from the few that were timed.

All layers between the first and the last are alike, so for each width time is a line over depth,

    ms(depth, channels) = start(channels) + slope(channels) (depth - first depth)

which the probes, two depths of some widths, give. `start` and `slope` are interpolated along
straight lines between widths. Kernels compute in tiles of 16 or 32 channels, so in between time
moves in steps: as soon as a member of such a width is timed, the line of its width is scaled to it.

Monotone in depth and in width. Where times contradict that (noise, or channels that fill a tile
and cost less than fewer that do not), the smaller network gets the time of the larger one: what
is predicted too fast is timed and found out, what is predicted too slow would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import numpy as np
import numpy.typing as npt

from edgesr.design.family import Member

Values = npt.NDArray[np.float64]
Line = tuple[float, float]
"""Milliseconds at the first depth, and per further layer."""


class Latency:
    """Milliseconds of any member within the widths that were probed.

    Args:
        probes: timed members, the same depths of some widths.
        timed: others that were timed since.
    """

    def __init__(self, probes: Mapping[Member, float], timed: Mapping[Member, float]) -> None:
        self._timed = {**probes, **timed}
        self._first = min(member.depth for member in probes)
        probed = {member.channels for member in probes}
        self._lines = {width: self._fitted(width) for width in probed}
        others = {member.channels for member in timed} - probed
        self._lines |= {width: self._scaled(width) for width in others}
        self._widths = sorted(self._lines)
        starts, slopes = np.array([self._lines[width] for width in self._widths]).T
        self._starts = _rising(starts)
        self._slopes = _rising(slopes)

    def of(self, member: Member) -> float:
        """Milliseconds: as timed, or as the model has it."""
        if member in self._timed:
            return self._timed[member]
        start = np.interp(member.channels, self._widths, self._starts)
        slope = np.interp(member.channels, self._widths, self._slopes)
        return float(start + slope * (member.depth - self._first))

    def _own(self, width: int) -> list[tuple[int, float]]:
        """Layers beyond the first depth and milliseconds, of a width's timed members."""
        timed = self._timed.items()
        return [(m.depth - self._first, ms) for m, ms in timed if m.channels == width]

    def _fitted(self, width: int) -> Line:
        """By least squares."""
        layers, times = zip(*self._own(width), strict=True)
        if len(set(layers)) == 1:
            return fmean(times), 0.0
        slope, start = np.polyfit(layers, times, 1)
        return float(start), max(float(slope), 0.0)

    def _scaled(self, width: int) -> Line:
        """The line between its probed neighbours, through what was timed on average: depths of
        finalists lie too close together to give a slope."""
        widths = sorted(self._lines)
        start, slope = (
            float(np.interp(width, widths, [self._lines[w][part] for w in widths]))
            for part in (0, 1)
        )
        ratio = fmean(ms / (start + slope * layers) for layers, ms in self._own(width))
        return start * ratio, slope * ratio


def _rising(values: Values) -> Values:
    """Each value, or the least of those after it."""
    return np.minimum.accumulate(values[::-1])[::-1]

"""Channel factors and ranges chosen together, for the least noise at the output.

An int8 tensor rounds to steps of `range / 255`; a channel scaled up by f before, and down after,
makes errors f times smaller, and clips f times sooner. Factors are shared by the channels of a
class (`classes.py`), ranges by the tensors of a group (`ties.py`), so that a choice in one place
is felt in others, and how much an error is worth at the output (`sensitivity.py`) decides between
them:

    sum over channels  weight * (step^2 / 12 + K (what is clipped)^2) / f^2

is minimized over the logarithms of all factors and bounds by gradient descent, from factors that
bring each channel to 70 % of its tensor's range. Equalization (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019) is the special case in
which nothing may clip and all tensors count alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from edgesr.quantize.classes import ChannelClasses
from edgesr.quantize.equalize import Extremes, Factors, counted, largest_factors
from edgesr.quantize.scales import FIXED, Ranges
from edgesr.quantize.sensitivity import Samples
from edgesr.quantize.squares import averaged_squares, largest_worth_codes
from edgesr.quantize.ties import CLIPS, Groups, is_moving, tie
from torch import Tensor, fx

from edgesr.graph import input_of, is_call, output_of, tensor_nodes

aten = torch.ops.aten

CLIPPING = 2.0
"""K. Rounding errors average out in the layers after; clipped edges stay clipped together."""
EXTREME = 0.003
"""Samples that each extreme of all patches in a channel counts for. Few samples hold the rare
values that clipping spoils; without the extremes ranges fit quiet photos only."""
STEPS = 120
RATE = 0.05
"""Of Adam, on natural logarithms; falls to nothing on a cosine."""
_NOTHING = 1e-9


@dataclass(frozen=True)
class Balance:
    """What was chosen."""

    factors: Factors
    """By channel class."""
    ranges: Ranges
    """By node name, of the rescaled graph; only of feature maps."""


@dataclass(frozen=True)
class _Rows:
    """All channels of all tensors that are counted, one row each."""

    values: Tensor
    weights: Tensor
    low: Tensor
    high: Tensor
    number: Tensor
    """Channel class; -1 for pinned."""
    power: Tensor
    group: Tensor
    rounds: Tensor
    """1 where codes are made, 0 where they are only moved."""

    def factors(self, logarithms: Tensor) -> Tensor:
        padded = torch.cat([logarithms, torch.zeros(1)])  # class -1 reads the last
        return (padded[self.number] * self.power).exp()


def balance(
    graph: fx.GraphModule,
    classes: ChannelClasses,
    extremes: Extremes,
    samples: dict[str, Samples],
    *,
    equalized: bool = True,
    clipping: float = CLIPPING,
) -> Balance:
    """Choose factors and ranges.

    Args:
        graph: in int8 spelling, not rescaled yet; left alone.
        extremes: of all its channels, over all patches.
        equalized: whether factors may differ from 1.
        clipping: K above.
    """
    groups = tie(graph)
    roots = list(dict.fromkeys(groups.find(name) for name in samples))
    rows = _rows(graph, classes, extremes, samples, groups, roots)
    start = largest_factors(graph, classes, extremes) if equalized else np.ones(classes.count)
    factors = torch.from_numpy(np.log(start)).float()
    above = _widest(rows.high * rows.factors(factors), rows.group, len(roots))
    below = _widest(-rows.low * rows.factors(factors), rows.group, len(roots))
    free = ~_pinned(graph, groups, roots)
    learned = [factors, above.clamp(min=_NOTHING).log(), below.clamp(min=_NOTHING).log()]
    learned = [tensor.requires_grad_() for tensor in learned]
    fixed = (above.clone(), below.clone(), free)
    optimizer = torch.optim.Adam(learned if equalized else learned[1:], lr=RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
            optimizer.zero_grad()
            noise = _noise(rows, learned[0], *_bounds(learned, *fixed), free, clipping)
            noise.log().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        above, below = _bounds(learned, *fixed)
    chosen = {root: (-float(below[k]), float(above[k])) for k, root in enumerate(roots)}
    found = learned[0].detach().double().exp().numpy()
    for node in averaged_squares(graph):
        root = groups.find(node.name)
        by = torch.from_numpy(classes.factors(found, node.name)).float()
        chosen[root] = (0.0, largest_worth_codes(samples[node.name], by, chosen[root][1]))
    return Balance(found, {name: chosen[groups.find(name)] for name in samples})


def _rows(
    graph: fx.GraphModule,
    classes: ChannelClasses,
    extremes: Extremes,
    samples: dict[str, Samples],
    groups: Groups,
    roots: list[str],
) -> _Rows:
    place = {root: k for k, root in enumerate(roots)}
    parts: list[tuple[Tensor, ...]] = []
    for node in counted(graph, classes):
        found, (low, high) = samples[node.name], extremes[node.name]
        ends = torch.from_numpy(np.stack([low, high], 1)).float()
        share = found.weights.mean(1, keepdim=True) * EXTREME
        moved = is_moving(graph, node) and not is_call(node, *CLIPS)
        parts.append((
            torch.cat([found.values, ends], 1),
            torch.cat([found.weights, share.expand(-1, 2)], 1),
            ends[:, 0],
            ends[:, 1],
            torch.from_numpy(classes.number[node.name]),
            torch.from_numpy(classes.power[node.name]).float(),
            torch.full((len(low),), place[groups.find(node.name)]),
            torch.full((len(low),), 0.0 if moved else 1.0),
        ))  # fmt: skip
    return _Rows(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _widest(bounds: Tensor, group: Tensor, count: int) -> Tensor:
    return torch.zeros(count).scatter_reduce(0, group, bounds.clamp(min=0), "amax")


def _pinned(graph: fx.GraphModule, groups: Groups, roots: list[str]) -> Tensor:
    """Groups whose range is prescribed; a clip's is what it clips to, so that saturation clips."""
    prescribed = [n for n in tensor_nodes(graph) if is_call(n, *FIXED, aten.clamp.default)]
    names = {groups.find(n.name) for n in (input_of(graph), output_of(graph), *prescribed)}
    return torch.tensor([root in names for root in roots])


def _bounds(
    learned: list[Tensor], above: Tensor, below: Tensor, free: Tensor
) -> tuple[Tensor, Tensor]:
    """Upper and lower bound of every group, both positive; 0 on a side that is never entered."""
    return (
        torch.where(free & (above > _NOTHING), learned[1].exp(), above),
        torch.where(free & (below > _NOTHING), learned[2].exp(), below),
    )


def _noise(
    rows: _Rows, factors: Tensor, above: Tensor, below: Tensor, free: Tensor, weight: float
) -> Tensor:
    """Mean squared error of the output that the groups' ranges make."""
    factor = rows.factors(factors)
    scaled = rows.values * factor[:, None]
    over = (scaled - above[rows.group][:, None]).clamp(min=0)
    under = (-scaled - below[rows.group][:, None]).clamp(min=0)
    clipping = (rows.weights * (over.square() + under.square())).sum(1)
    step = ((above + below) / 255)[rows.group]
    rounding = rows.rounds * rows.weights.sum(1) * step.square() / 12
    each = (rounding + weight * clipping) / factor.square()
    return each[free[rows.group]].sum() + 1e-30

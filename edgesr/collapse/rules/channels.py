"""Channels put together and taken apart.

cat([K1 * r, K2 * r])   =>  [K1; K2] * r        rows of the kernel below each other
x[:, a:b]               =>  K[a:b] * r
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, Pair, Sides, concatenate, every, pad, select
from edgesr.collapse.rules.rule import Facts, Maps, rule

aten = torch.ops.aten


@rule(aten.cat.default)
def concatenation(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    parts, dim = node.args
    inner = [maps.get(part) for part in parts]  # type: ignore[union-attr]
    known = [m for m in inner if m is not None]
    if dim not in (1, -3) or len(known) < len(inner):
        return None
    return concatenate(known)


@rule(aten.slice.Tensor)
def part(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    """Some channels, or some rows or columns: an image cut (or strided) from its first pixel.

    The far end of a spatial slice must be given from that end (`x[:, :, 1:-1]`): one given from
    the start depends on the size of the image.
    """
    x, dim, start, end, step = node.args
    inner = maps.get(x)
    whole = all(isinstance(number, int) for number in (dim, start, end, step))
    if inner is None or not whole:
        return None
    axis, first, last, stride = (int(number) for number in (dim, start, end, step))  # type: ignore[arg-type]
    axis %= 4
    if axis == 1:
        return select(inner, range(*slice(first, last, stride).indices(inner.channels)))
    unbounded = last == 2**63 - 1
    if axis == 0 or first < 0 or not (unbounded or last < 0):
        return None
    cut = 0 if unbounded else last
    if axis == 2:
        return every(pad(inner, Sides(-first, cut, 0, 0)), Pair(stride, 1))
    return every(pad(inner, Sides(0, 0, -first, cut)), Pair(1, stride))

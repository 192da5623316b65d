"""Sums: kernels add up where both sides read the same root.

K1 * r + b1  +  K2 * r + b2   =>  (K1 + K2) * r + (b1 + b2)      kernels aligned at their centre
K1 * r + b1  +  K2 * s + b2   =>  two terms, of r and of s
x + c                         =>  bias + c
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, add, scale, select, shift
from edgesr.collapse.rules.rule import Facts, Maps, rule

aten = torch.ops.aten


@rule(aten.add.Tensor, aten.sub.Tensor)
def sum_up(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    left, right = node.args
    if node.kwargs:
        return None
    first, second = maps.get(left), maps.get(right)
    if second is not None and node.target is aten.sub.Tensor:
        second = scale(second, -torch.ones_like(second.bias))
    if first is not None and second is not None:
        if facts.size(left) != facts.size(right):
            return None  # one pixel spread over the whole image
        return _add(first, second)
    if first is not None:
        sign = -1.0 if node.target is aten.sub.Tensor else 1.0
        return _add_constant(first, right, sign, facts)
    return second and _add_constant(second, left, 1.0, facts)


def _add(first: LinearMap, second: LinearMap) -> LinearMap | None:
    if first.channels == 1:
        first = select(first, [0] * second.channels)
    if second.channels == 1:
        second = select(second, [0] * first.channels)
    return add(first, second)


def _add_constant(
    inner: LinearMap, argument: object, sign: float, facts: Facts
) -> LinearMap | None:
    constants = facts.per_channel(argument, inner.channels)
    if constants is None:
        return None  # varies over the image
    if inner.channels == 1:
        inner = select(inner, [0] * constants.numel())
    return shift(inner, sign * constants)

"""Factors that do not depend on the image.

    x * c,  x / c,  -x   =>  kernel * c,  bias * c

`c` is a number or one value per channel: residual scaling, value ranges, layer scale.
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, scale, select
from edgesr.collapse.rules.rule import Facts, Maps, rule

aten = torch.ops.aten


@rule(aten.mul.Tensor, aten.div.Tensor)
def multiply(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    left, right = node.args
    inner, other = maps.get(left), right
    if inner is None and node.target is aten.mul.Tensor:
        inner, other = maps.get(right), left
    if inner is None or node.kwargs:
        return None  # constant / x, or a division that rounds
    factors = facts.per_channel(other, inner.channels)
    if factors is None:
        return None  # image times image
    if inner.channels == 1:
        inner = select(inner, [0] * factors.numel())
    return scale(inner, 1.0 / factors if node.target is aten.div.Tensor else factors)


@rule(aten.neg.default)
def negate(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    inner = maps.get(node.args[0])
    return inner and scale(inner, -torch.ones_like(inner.bias))

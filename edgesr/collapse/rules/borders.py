"""Explicit padding with a constant.

    pad(K * r + b, sides, value)   =>  the same kernel on a larger frame

Exact if `b` is `value` and K does not reach from the frame into the image (see `algebra.pad`):
zeros before the first kernel, never between two.
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, Sides, pad
from edgesr.collapse.rules.rule import Facts, Maps, arguments, rule


@rule(torch.ops.aten.pad.default)
def padding(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    x, sides, mode, value = arguments(node, None, [], "constant", None)
    inner = maps.get(x)
    if inner is None or mode != "constant" or len(sides) > 4:
        return None  # mirrored and repeated pixels are no convolution
    if not all(isinstance(side, int) for side in sides):
        return None  # depends on the size of the image
    left, right, top, bottom = [int(side) for side in sides] + [0] * (4 - len(sides))
    return pad(inner, Sides(top, bottom, left, right), float(value or 0.0))

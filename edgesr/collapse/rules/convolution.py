"""Convolution: padding, then the sum over its window.

conv(x; W, b, stride, padding p, dilation, groups)
    =>  kernel = W after K,  bias = sum(W) * bias + b,  growth += 2 p - dilation (k - 1)
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, Pair, Sides, convolve, pad, work_to_compose
from edgesr.collapse.rules.rule import Facts, Maps, pair, rule

_TOO_MUCH_WORK = 1_000_000_000
"""Multiply-accumulates: a second in float64. Kernels of that size are not composed."""


@rule(torch.ops.aten.conv2d.default)
def convolution(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    x, w, b, stride, padding, dilation, groups = node.args
    inner, weight = maps.get(x), facts.constant(w)
    bias = facts.constant(b)
    if inner is None or weight is None or (b is not None and bias is None):
        return None  # the weights depend on the image
    down, across = pair(padding)
    padded = pad(inner, Sides(down, down, across, across))
    if not (padded.exact or facts.allow_border):
        return padded  # will not be used, and composing is what takes time
    if work_to_compose(padded, weight) > _TOO_MUCH_WORK:
        return None
    return convolve(
        padded,
        weight,
        bias=bias,
        stride=Pair(*pair(stride)),
        dilation=Pair(*pair(dilation)),
        groups=int(groups),  # type: ignore[arg-type]
    )

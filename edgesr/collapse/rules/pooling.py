"""Average pooling: a convolution of each channel with a constant window.

    avg_pool(x; k, stride, padding)   =>  conv(x; 1 / k^2 on the diagonal)

Padded zeros must count in the mean; where they do not, the window's weight varies at the border.
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, Pair, Sides, convolve, pad
from edgesr.collapse.rules.rule import Facts, Maps, arguments, pair, rule


@rule(torch.ops.aten.avg_pool2d.default)
def average(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    x, window, stride, padding, ceil, zeros_count, divisor = arguments(
        node, None, None, [], 0, False, True, None
    )
    inner = maps.get(x)
    if inner is None or ceil or node.kwargs:
        return None
    rows, columns = pair(window)
    down, across = pair(padding)
    if not zeros_count and (down or across):
        return None
    weight = torch.ones(inner.channels, 1, rows, columns, dtype=torch.float64)
    return convolve(
        pad(inner, Sides(down, down, across, across)),
        weight / (divisor or rows * columns),
        stride=Pair(*pair(stride or window)),
        groups=inner.channels,
    )

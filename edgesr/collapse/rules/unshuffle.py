"""Pixel unshuffle: a strided convolution with one-hot kernels.

    pixel_unshuffle(x; s)[c * s^2 + i * s + j, p] = x[c, s * p + (i, j)]

The image's sides divide by s, or the operator would fail: the last block is a whole one.
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, Pair, convolve, on_whole_blocks
from edgesr.collapse.rules.rule import Facts, Maps, rule


@rule(torch.ops.aten.pixel_unshuffle.default)
def unshuffle(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    x, factor = node.args
    inner = maps.get(x)
    if inner is None or any(t.stride != (1, 1) for t in inner.terms.values()):
        return None
    block = int(factor)  # type: ignore[arg-type]
    one_hot = torch.eye(block**2, dtype=torch.float64).view(block**2, 1, block, block)
    result = convolve(
        inner,
        one_hot.repeat(inner.channels, 1, 1, 1),
        stride=Pair(block, block),
        groups=inner.channels,
    )
    return on_whole_blocks(result, block)

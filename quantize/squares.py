"""Ranges of squares that are averaged over the image, as a channel attention's contrast is.

What `balance.py` weighs are errors of single values, which average out. Of a square most values are
small, and with a range that holds the largest ones all of them become zero: the mean is too low in
every image. So the range is narrowed while the means of patches come closer to float, though more
is clipped.
"""

from __future__ import annotations

import torch
from edgesr.quantize.sensitivity import PATCHES, Samples
from torch import Tensor, fx

from edgesr.graph import is_call, tensor_nodes

aten = torch.ops.aten

HALVINGS = 5
"""Of the range, tried."""


def averaged_squares(graph: fx.GraphModule) -> list[fx.Node]:
    """Products of a tensor with itself that nothing but means read."""
    squares = [n for n in tensor_nodes(graph) if is_call(n, aten.mul.Tensor)]
    return [
        node
        for node in squares
        if node.args[0] is node.args[1] and all(is_call(user, aten.mean.dim) for user in node.users)
    ]


def largest_worth_codes(found: Samples, factors: Tensor, highest: float) -> float:
    """The upper end of a square's range: `highest`, or a part of it.

    Args:
        found: channels x samples, those of a patch beside each other.
        factors: what every channel is rescaled by.
    """
    values = found.values * factors[:, None]
    worth = _patch_means(found.weights / factors.square()[:, None])

    def error(bound: float) -> float:
        step = bound / 255
        lost = values - (values / step).round().clamp(max=255) * step
        return float((worth * _patch_means(lost).square()).sum())

    return min((highest / 2.0**k for k in range(HALVINGS + 1)), key=error)


def _patch_means(samples: Tensor) -> Tensor:
    return torch.stack([part.mean(1) for part in samples.tensor_split(PATCHES, 1)], 1)

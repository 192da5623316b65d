"""Batch norm in evaluation: one factor and one constant per channel.

    bn(x; gamma, beta, mean, var, eps)  =>  x * g + (beta - mean * g),  g = gamma / sqrt(var + eps)

Exact behind any padding; in front of one, its constant is what the padding then lacks.
"""

from __future__ import annotations

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, scale, shift
from edgesr.collapse.rules.rule import Facts, Maps, rule


@rule(torch.ops.aten.batch_norm.default)
def batch_norm(node: fx.Node, maps: Maps, facts: Facts) -> LinearMap | None:
    x, gamma, beta, mean, var, training, _, eps, _ = node.args
    inner, centre, spread = maps.get(x), facts.constant(mean), facts.constant(var)
    if inner is None or centre is None or spread is None or training:
        return None  # statistics of the image itself
    factors = (spread + float(eps)).rsqrt()  # type: ignore[arg-type]
    gain, constants = facts.constant(gamma), facts.constant(beta)
    if gain is not None:
        factors = factors * gain
    # `shift` before `scale`, as batch norm is written: a bias equal to the mean cancels exactly.
    result = scale(shift(inner, -centre), factors)
    return result if constants is None else shift(result, constants)

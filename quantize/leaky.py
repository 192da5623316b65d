"""Leaky ReLU with a scale of its own on each side.

What a leaky ReLU shrinks twentyfold needs no codes after it: its input may reach to -1700 where its
output ends at -85. With one scale for both, three of four codes of the output go unused.

XNNPACK multiplies both branches by numbers of 8 fractional bits, `s_in / s_out` and
`slope s_in / s_out`, and rounds halves up; ONNX Runtime multiplies floats and rounds halves to
even. They agree where both numbers have 8 fractional bits, and the input's scale is larger, the
negative branch's smaller, by a 2^18th: then every half lies on the side XNNPACK rounds it to.
"""

from __future__ import annotations

import math

import torch
from edgesr.quantize.scheme import QParams
from edgesr.quantize.ties import Groups
from torch import fx

from edgesr.graph import is_call, tensor_nodes

aten = torch.ops.aten

STEPS = 256
LARGEST_STEPS = 127 * STEPS
"""XNNPACK's multipliers have 16 bits."""
SLACK = 0.03
"""By how much a scale may grow so that the slope is rounded less."""
NUDGE = 2.0**-18


def align(
    graph: fx.GraphModule,
    groups: Groups,
    scales: dict[str, float],
    families: list[list[str]],
    fixed: set[str],
) -> None:
    """Raise scales, by `SLACK` at most, until every ratio has 8 fractional bits.

    Args:
        groups: tensors that share a scale.
        scales: by group; changed in place.
        families: groups that meet in sums; their ratios must stay.
        fixed: groups whose scale must stay.
    """
    clusters = Groups(list(scales))
    for members in families:
        for member in members[1:]:
            clusters.join(members[0], member)
    for node in tensor_nodes(graph):
        if not is_call(node, aten.leaky_relu.default):
            continue
        source = groups.find(node.all_input_nodes[0].name)
        result = groups.find(node.name)
        before, after = clusters.find(source), clusters.find(result)
        if before == after:
            continue
        slope = slope_of(node)
        ratio = STEPS * scales[source] / scales[result] / (1 + NUDGE)
        pinned = {clusters.find(name) for name in fixed}
        if after not in pinned:
            wanted = _best_steps(slope, ratio * (1 - SLACK), ratio)
            _raise(clusters, scales, after, ratio / wanted)
        elif before not in pinned:
            wanted = _best_steps(slope, ratio, ratio * (1 + SLACK))
            _raise(clusters, scales, before, wanted / ratio)
        clusters.join(before, after)


def round_slopes(graph: fx.GraphModule, activations: dict[str, QParams]) -> None:
    """Give every leaky ReLU the slope that runtimes compute with these scales, in place."""
    for node in tensor_nodes(graph):
        if is_call(node, aten.leaky_relu.default):
            (x,) = node.all_input_nodes
            ratio = activations[x.name].scale / activations[node.name].scale
            positive = round(STEPS * ratio)
            negative = round(slope_of(node) * positive)
            if abs(negative) < 2:  # XNNPACK takes no factor below 2^-8, and the nudge is downwards
                negative = -2 if slope_of(node) < 0 else 2
            slope = negative / STEPS / ratio
            node.args = (x, slope - abs(slope) * NUDGE)
    graph.recompile()


def slope_of(node: fx.Node) -> float:
    """What a leaky ReLU multiplies negative values by."""
    return float(node.args[1]) if len(node.args) > 1 else 0.01  # type: ignore[arg-type]


def _best_steps(slope: float, least: float, most: float) -> int:
    """The multiplier, in 1 / `STEPS`, between two bounds that rounds the slope least."""
    candidates = range(max(1, math.ceil(least)), min(max(1, math.floor(most)), LARGEST_STEPS) + 1)
    if not candidates:
        return max(1, math.floor(most))
    return min(reversed(candidates), key=lambda k: abs(round(slope * k) / k - slope))


def _raise(clusters: Groups, scales: dict[str, float], cluster: str, factor: float) -> None:
    for name in scales:
        if clusters.find(name) == cluster:
            scales[name] *= factor

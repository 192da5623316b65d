"""Which ReLUs are written into the operator before them, and which clips int8 gets for nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ai_edge_litert import schema_py_generated as schema
from edgesr.export.lower.editor import arguments
from edgesr.export.lower.merge import bounds
from edgesr.quantize.islands import float_nodes
from edgesr.quantize.scheme import QuantizedGraph
from torch import fx

from edgesr.graph import aten, is_call

NONE: int = schema.ActivationFunctionType.NONE
ACTIVATIONS = {
    (0.0, math.inf): schema.ActivationFunctionType.RELU,
    (0.0, 6.0): schema.ActivationFunctionType.RELU6,
    (-1.0, 1.0): schema.ActivationFunctionType.RELU_N1_TO_1,
}
"""Interval to the fused activation that clips to it."""

CARRIERS = (
    aten.conv2d.default, aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor,
)  # fmt: skip
"""Operators with a fused activation."""


@dataclass
class Fusion:
    """What the walk over the graph does not write as operators of their own."""

    activations: dict[fx.Node, int] = field(default_factory=dict)
    """Producer to its fused activation."""
    results: dict[fx.Node, fx.Node] = field(default_factory=dict)
    """Producer to the clip whose value it then computes."""
    identities: set[fx.Node] = field(default_factory=set)
    """Clips that change no code: int8 saturates where they would clip."""


def plan(graph: fx.GraphModule, quantized: QuantizedGraph | None) -> Fusion:
    """Decide for every clip of the graph."""
    fusion = Fusion()
    floating = frozenset() if quantized is None else float_nodes(quantized)
    for node in graph.graph.nodes:
        interval = bounds(node)
        if interval is None:
            continue
        producer: fx.Node = arguments(node)[0]
        activation = ACTIVATIONS.get(interval)
        if quantized is not None and node.name not in floating:
            low, high = clip_codes(node, quantized)
            most = quantized.activations[node.name].codes
            if (low, high) == most:
                fusion.identities.add(node)
                continue
            # Only a ReLU's bound is a code that every kernel computes alike.
            zero_point = quantized.activations[node.name].zero_point
            if (low, high) != (zero_point, most[1]) or _params_differ(quantized, producer, node):
                activation = None
            else:
                activation = ACTIVATIONS[0.0, math.inf]
        if activation is None or not is_call(producer, *CARRIERS):
            continue
        if (producer.name in floating) != (node.name in floating):
            continue  # where an island ends, its result is quantized first
        if list(producer.users) == [node]:
            fusion.activations[producer] = activation
            fusion.results[producer] = node
    return fusion


def clip_codes(node: fx.Node, quantized: QuantizedGraph) -> tuple[int, int]:
    """The smallest and the largest code a clip lets through."""
    interval = bounds(node)
    assert interval is not None
    params = quantized.activations[node.name]
    low, high = (limit if math.isinf(limit) else params.code_of(limit) for limit in interval)
    least, most = params.codes
    return int(min(max(low, least), most)), int(max(min(high, most), least))


def _params_differ(quantized: QuantizedGraph, producer: fx.Node, node: fx.Node) -> bool:
    known = quantized.activations
    return known.get(producer.name) != known[node.name]

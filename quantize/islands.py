"""Float islands in an int8 graph: convolutions without integers, and the tensors between them.

An operator runs in float if it is a convolution without integers, or if one of its tensors has no
scale. It reads quantized neighbours dequantized, and what integers read of it is quantized:

    conv2d (int8) -> [dequantize -> conv2d -> relu -> conv2d -> quantize] -> add (int8)

Every runtime adds up float sums in an order of its own; a result within a rounding error of half a
code may fall to either side, so that islands are not bit-exact.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from edgesr.quantize.scheme import QParams, QuantizedGraph
from edgesr.quantize.ties import MOVES
from torch import Tensor, fx

from edgesr.graph import input_of, is_call, output_of, tensor_nodes

aten = torch.ops.aten


def with_islands(quantized: QuantizedGraph, layers: Collection[str]) -> QuantizedGraph:
    """The same graph with these convolutions (node names) in float; scales elsewhere are kept."""
    graph, chosen = quantized.graph, frozenset(layers)
    weights = {name: w for name, w in quantized.weights.items() if name not in chosen}
    images = tensor_nodes(graph)
    floating: set[fx.Node] = set()
    for node, inputs in _operators(graph):
        if is_call(node, aten.conv2d.default):
            island = node.name not in weights
        else:
            island = floating.issuperset(inputs)
        if island:
            floating.add(node)
    ends = {input_of(graph), output_of(graph)}
    free: set[str] = set()
    known = set(images)
    for node in reversed(images):
        readers = [user for user in node.users if user in known]
        if node not in floating:
            continue
        if node not in ends and readers and floating.issuperset(readers):
            free.add(node.name)
        elif is_call(node, *MOVES) and not is_call(node, aten.relu.default):
            floating.discard(node)  # a quarter of the bytes to move, if quantized before
    activations = {n: p for n, p in quantized.activations.items() if n not in free}
    return replace(quantized, weights=weights, activations=activations)


def float_nodes(quantized: QuantizedGraph) -> frozenset[str]:
    """Names of the operators that run in float."""
    known, found = quantized.activations, set()
    for node, inputs in _operators(quantized.graph):
        lacking = any(tensor.name not in known for tensor in (node, *inputs))
        if lacking or (is_call(node, aten.conv2d.default) and node.name not in quantized.weights):
            found.add(node.name)
    return frozenset(found)


def is_mixed(quantized: QuantizedGraph) -> bool:
    """Whether anything runs in float."""
    return bool(float_nodes(quantized))


def run_float(
    quantized: QuantizedGraph, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """One operator in float: codes in are dequantized, and the result quantized if it has a scale.

    Args:
        args: as in the graph; quantized tensors as codes.
    """
    known = quantized.activations
    real = fx.node.map_aggregate(
        _paired(node.args, args),
        lambda pair: _real(pair, known) if isinstance(pair, _Pair) else pair,
    )
    result: Tensor = node.target(*real, **kwargs)  # type: ignore[operator, misc]
    params = known.get(node.name)
    return result if params is None else to_codes(result, params)


def to_codes(value: Tensor, params: QParams) -> Tensor:
    """`round(value / scale) + zero point`, saturated; half to even."""
    lowest, highest = params.codes
    scale = torch.tensor(params.scale, dtype=torch.float32)
    return torch.round(value / scale).add_(params.zero_point).clamp_(lowest, highest)


def to_real(codes: Tensor, params: QParams) -> Tensor:
    """`(code - zero point) * scale`, in float32."""
    return (codes - params.zero_point) * torch.tensor(params.scale, dtype=torch.float32)


class _Pair:
    """A node and its value."""

    def __init__(self, node: fx.Node, value: Any) -> None:
        self.node, self.value = node, value


def _paired(nodes: Any, values: Any) -> Any:
    """The arguments, with each node replaced by the pair of itself and its value."""
    if isinstance(nodes, fx.Node):
        return _Pair(nodes, values)
    if isinstance(nodes, (list, tuple)):
        return tuple(_paired(n, v) for n, v in zip(nodes, values, strict=True))
    return values


def _real(pair: _Pair, known: dict[str, QParams]) -> Any:
    params = known.get(pair.node.name)
    return pair.value if params is None else to_real(pair.value, params)


def _operators(graph: fx.GraphModule) -> list[tuple[fx.Node, list[fx.Node]]]:
    """Operators on images, in order, each with the images it reads: no constants, no sizes."""
    images = dict.fromkeys(tensor_nodes(graph))
    return [
        (node, [x for x in node.all_input_nodes if x in images])
        for node in images
        if node.op == "call_function"
    ]

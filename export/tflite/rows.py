"""DEPTH_TO_SPACE without DEPTH_TO_SPACE, which no Ethos-U runs: its block rows, side by side.

    depth_to_space(f(conv(x; W)), s)   =>   stack_rows(cat(f(conv(x; W[0])), ..., axis=columns), s)
    W[i] = the output channels of W that make row i of every s x s block

In NHWC, a map of s * C channels is in memory what an image row of s times the width and C channels
is. Side by side, the parts are the rows of the image in order: `stack_rows` is a RESHAPE, and NPUs
write every part to its place at once. The split goes up through sums, clips and activations to the
convolutions whose output channels it parts; whatever else is met is sliced. Exact, code by code:
an output channel knows nothing of its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from edgesr.export.lower.ops import depth_to_space, stack_rows
from edgesr.quantize.scheme import QuantizedGraph, QWeights
from torch import fx

from edgesr.graph import add_constant, aten, constant_of, is_call, shapes, tidy

_PER_CHANNEL = (
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.relu.default, aten.leaky_relu.default,
    aten.clamp.default, aten.sigmoid.default, aten.tanh.default,
)  # fmt: skip


def by_rows(quantized: QuantizedGraph, height: int, width: int) -> QuantizedGraph:
    """The same codes, every depth-to-space in parts. The given graph is left as it is.

    Args:
        height, width: of an input that the graph takes.
    """
    graph = deepcopy(quantized.graph)
    mine = replace(
        quantized, graph=graph, activations=dict(quantized.activations),
        weights=dict(quantized.weights),
    )  # fmt: skip
    widths = {n: sides[1] for n, sides in shapes(graph, height, width).items() if len(sides) == 4}
    split = _Split(mine, widths)
    for node in list(graph.graph.nodes):
        if is_call(node, depth_to_space) and node.name in quantized.activations:
            split.shuffle(node)
    tidy(graph)
    return mine


class _Split:
    """Writes parts of nodes into a graph, each once."""

    def __init__(self, quantized: QuantizedGraph, widths: Mapping[str, int]) -> None:
        self.quantized = quantized
        self._graph, self._widths = quantized.graph, widths
        self._parts: dict[tuple[fx.Node, int, int], fx.Node] = {}

    def shuffle(self, node: fx.Node) -> None:
        """Replace one depth-to-space."""
        x, block = node.args
        assert isinstance(x, fx.Node) and isinstance(block, int)
        parts = [self._part(x, row, block, node) for row in range(block)]
        with self._graph.graph.inserting_before(node):
            wide = self._graph.graph.call_function(aten.cat.default, (parts, 3))
            stacked = self._graph.graph.call_function(stack_rows, (wide, block))
        params = self.quantized.activations[node.name]
        self.quantized.activations |= {wide.name: params, stacked.name: params}
        node.replace_all_uses_with(stacked)

    def _part(self, node: fx.Node, index: int, count: int, reader: fx.Node) -> fx.Node:
        """Channels `index` / `count` of a node."""
        key = (node, index, count)
        if key not in self._parts:
            alone = list(node.users) == [reader]
            if alone and node.name in self.quantized.weights and node.args[6] == 1:
                part = self._convolution(node, index, count)
            elif alone and self._splits(node):
                args = tuple(
                    self._part(x, index, count, node) if isinstance(x, fx.Node) else x
                    for x in node.args
                )
                part = self._insert(node, args)
            else:
                part = self._slice(node, index, count)
            self.quantized.activations[part.name] = self.quantized.activations[node.name]
            self._parts[key] = part
        return self._parts[key]

    def _splits(self, node: fx.Node) -> bool:
        """Whether a part of this operator is the operator on parts: nothing is broadcast."""
        sources = [x for x in node.args if isinstance(x, fx.Node)]
        width = self._widths.get(node.name)
        return is_call(node, *_PER_CHANNEL) and all(
            x.name in self.quantized.activations and self._widths.get(x.name) == width
            for x in sources
        )

    def _convolution(self, node: fx.Node, index: int, count: int) -> fx.Node:
        whole, graph = self.quantized.weights[node.name], self._graph
        size = whole.weight.shape[0] // count
        rows = slice(index * size, (index + 1) * size)
        weights = QWeights(whole.weight[rows], whole.scale[rows], whole.bias[rows])
        for (other, _, parts), twin in self._parts.items():
            # The skip gives every row of a block the same pixels.
            if (
                other is node
                and parts == count
                and _same(self.quantized.weights[twin.name], weights)
            ):
                return twin
        constants = []
        for argument in node.args[1:3]:
            value = constant_of(graph, argument)
            with graph.graph.inserting_before(node):
                constants.append(
                    None if value is None else add_constant(graph, value[rows].clone(), node.name)
                )
        part = self._insert(node, (node.args[0], *constants, *node.args[3:]))
        self.quantized.weights[part.name] = weights
        return part

    def _slice(self, node: fx.Node, index: int, count: int) -> fx.Node:
        size = self._widths[node.name] // count
        with self._graph.graph.inserting_after(node):
            return self._graph.graph.call_function(
                aten.slice.Tensor, (node, 1, index * size, (index + 1) * size, 1)
            )

    def _insert(self, node: fx.Node, args: tuple[fx.node.Argument, ...]) -> fx.Node:
        """The same call on other arguments."""
        with self._graph.graph.inserting_before(node):
            return self._graph.graph.create_node("call_function", node.target, args)


def _same(one: QWeights, other: QWeights) -> bool:
    fields = ((one.weight, other.weight), (one.scale, other.scale), (one.bias, other.bias))
    return all(torch.equal(a, b) for a, b in fields)

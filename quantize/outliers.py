"""Channels whose weights stand out, computed twice: finer steps for all other weights.

    conv(x; W)  =>  conv(cat(x, x[c]); [W with W[:, c] / 2, W[:, c] / 2])

The largest weight of an output channel sets the step of them all. Where a skip is read through
patches of the image, one pixel's weights are far above the rest: rounding the last convolution's
weights of IMDN made a sixth of all its noise. A channel that is there twice takes half the weight
each time. Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier
Channel Splitting", ICML 2019.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from edgesr.quantize.edits import change
from edgesr.quantize.readers import feeds_convolutions, is_dense, readers
from edgesr.quantize.scheme import QuantizedGraph
from edgesr.quantize.weights import quantize_weights
from torch import Tensor, fx

from edgesr.graph import ANY_SIDE, constant_of, is_call, shapes, tensor_nodes, tidy

aten = torch.ops.aten

SHARE = 8
"""At most one of so many channels that a convolution reads is repeated for it."""
OUTLYING = 0.5
"""Of the largest weight: what is below is no larger than what is left of that."""


def with_outliers_repeated(quantized: QuantizedGraph) -> QuantizedGraph:
    """The same network in float, with more channels where that is worth it, weights quantized anew.

    A channel can be repeated if a convolution makes it, maybe with a ReLU, for convolutions only.
    """
    graph = deepcopy(quantized.graph)
    for reader in [n for n in tensor_nodes(graph) if is_dense(n)]:
        known, outlying, end = shapes(graph, ANY_SIDE, ANY_SIDE), _outlying(graph, reader), 0
        for operand in _operands(reader):
            start, end = end, end + known[operand.name][1]
            source = _source(operand)
            if source is not None and outlying[start:end].any():
                _repeat(graph, operand, source, outlying[start:end])
    tidy(graph)
    weights = {
        node.name: quantize_weights(graph, node, quantized.activations)
        for node in tensor_nodes(graph)
        if is_call(node, aten.conv2d.default)
    }
    return replace(quantized, graph=graph, weights=weights)


def _operands(reader: fx.Node) -> list[fx.Node]:
    x = reader.args[0]
    assert isinstance(x, fx.Node)
    return list(x.args[0]) if is_call(x, aten.cat.default) else [x]  # type: ignore[arg-type]


def _outlying(graph: fx.GraphModule, reader: fx.Node) -> Tensor:
    """Which columns hold weights that set the step of a row."""
    weight = constant_of(graph, reader.args[1])
    assert weight is not None
    columns = weight.detach().abs().amax((2, 3))
    share = (columns / columns.amax(1, keepdim=True).clamp(min=1e-30)).amax(0)
    largest = share.topk(len(share) // SHARE).indices
    found = torch.zeros(len(share), dtype=torch.bool)
    found[largest] = share[largest] > OUTLYING
    return found


def _source(operand: fx.Node) -> fx.Node | None:
    """The convolution that makes a tensor, if its channels can be repeated."""
    made = operand.args[0] if is_call(operand, aten.relu.default) else operand
    assert isinstance(made, fx.Node)
    if not is_dense(made) or not feeds_convolutions(operand):
        return None
    return made if made is operand or len(made.users) == 1 else None


def _repeat(graph: fx.GraphModule, operand: fx.Node, source: fx.Node, which: Tensor) -> None:
    counts = 1 + which.long()
    order = torch.arange(len(counts)).repeat_interleave(counts)
    end = len(counts)

    def columns(weight: Tensor, start: int) -> Tensor:
        mine = weight[:, start : start + end] / counts[:, None, None]
        return torch.cat([weight[:, :start], mine[:, order], weight[:, start + end :]], 1)

    for reader, start in readers(graph, operand):
        change(graph, reader, 1, partial(columns, start=start))
    change(graph, source, 1, lambda weight: weight[order])
    if source.args[2] is not None:
        change(graph, source, 2, lambda bias: bias[order])

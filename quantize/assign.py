"""Ranges in, a quantized graph out: scales, and the nearest codes for all weights."""

from __future__ import annotations

import torch
from edgesr.quantize import patches
from edgesr.quantize.leaky import round_slopes
from edgesr.quantize.scales import Ranges, choose_scales
from edgesr.quantize.scheme import QuantizedGraph
from edgesr.quantize.weights import quantize_weights
from torch import fx

from edgesr.graph import is_call, tensor_nodes
from edgesr.network import Network

aten = torch.ops.aten


def assign(graph: fx.GraphModule, network: Network, ranges: Ranges) -> QuantizedGraph:
    """Quantize a graph in int8 spelling; constants that depend on scales change in place.

    Args:
        ranges: of every tensor, by node name.

    Raises:
        UnsupportedError: a layer has no int8 form.
    """
    activations = choose_scales(graph, network, ranges)
    round_slopes(graph, activations)
    patches.align(graph, activations)
    weights = {
        node.name: quantize_weights(graph, node, activations)
        for node in tensor_nodes(graph)
        if is_call(node, aten.conv2d.default)
    }
    return QuantizedGraph(graph, activations, weights, network)

"""A range per tensor, from its histogram and what reads it."""

from __future__ import annotations

import torch
from edgesr.quantize.leaky import slope_of
from edgesr.quantize.observers import Histogram, find_observer, minmax, mse
from edgesr.quantize.scales import Ranges
from torch import fx

from edgesr.graph import is_call, tensor_nodes

aten = torch.ops.aten


def choose_ranges(graph: fx.GraphModule, histograms: dict[str, Histogram], observer: str) -> Ranges:
    """The range of every tensor, by node name.

    Raises:
        UsageError: no observer of that name.
    """
    choose = find_observer(observer)
    ranges = {}
    for node in tensor_nodes(graph):
        seen = histograms[node.name]
        if seen.low == seen.high:
            ranges[node.name] = minmax(seen)
            continue
        readers = [user for user in node.users if is_call(user, aten.leaky_relu.default)]
        if choose is mse and readers and len(readers) == len(node.users):
            slope = max(abs(slope_of(reader)) for reader in readers)
            ranges[node.name] = mse(seen, below=slope)
        else:
            ranges[node.name] = choose(seen)
    return ranges

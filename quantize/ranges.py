"""A range per tensor, from its histogram and what reads it."""

from __future__ import annotations

import torch
from edgesr.quantize.observers import Histogram, find_observer
from edgesr.quantize.scales import Ranges
from torch import fx

from edgesr.graph import tensor_nodes

aten = torch.ops.aten


def choose_ranges(graph: fx.GraphModule, histograms: dict[str, Histogram], observer: str) -> Ranges:
    """The range of every tensor, by node name.

    Raises:
        UsageError: no observer of that name.
    """
    choose = find_observer(observer)
    return {node.name: choose(histograms[node.name]) for node in tensor_nodes(graph)}

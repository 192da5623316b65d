"""A range per tensor, from what a calibration run saw of it."""

from __future__ import annotations

import torch
from edgesr.quantize.leaky import slope_of
from edgesr.quantize.observers import OUTPUT, find_observer, minmax, mse
from edgesr.quantize.scales import Ranges
from edgesr.quantize.statistics import Statistics

from edgesr.graph import is_call, tensor_nodes

aten = torch.ops.aten


def choose_ranges(seen: Statistics, observer: str) -> Ranges:
    """The range of every tensor, by node name.

    Args:
        observer: a name in `OBSERVERS`, or `OUTPUT`.

    Raises:
        UsageError: no observer of that name.
    """
    if observer == OUTPUT:
        # What is no feature map has a few values, and no sample of its own.
        return choose_ranges(seen, "mse") | seen.balance.ranges
    choose = find_observer(observer)
    ranges = {}
    for node in tensor_nodes(seen.graph):
        histogram = seen.histograms[node.name]
        if histogram.low == histogram.high:
            ranges[node.name] = minmax(histogram)
            continue
        readers = [user for user in node.users if is_call(user, aten.leaky_relu.default)]
        if choose is mse and readers and len(readers) == len(node.users):
            slope = max(abs(slope_of(reader)) for reader in readers)
            ranges[node.name] = mse(histogram, below=slope)
        else:
            ranges[node.name] = choose(histogram)
    return ranges


def check_observer(name: str) -> None:
    """Raise UsageError where there is no observer of that name."""
    if name != OUTPUT:
        find_observer(name)

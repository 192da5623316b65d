"""Cross-layer equalization: every channel gets as many of its tensor's codes as fit.

An int8 activation has one scale for all channels, set by the widest; a channel a hundred times
narrower is left with two codes. Scaling it up, and the weights that read it down, changes nothing
in float and gives it all 256 (Nagel et al., "Data-Free Quantization Through Weight Equalization
and Bias Correction", ICCV 2019, section 4.1). There, ranges of weights are balanced, for weights
with one scale per tensor; ours have one per output channel, so that only activations need it, and
a factor per channel class (`classes.py`) reaches through skips, concatenations and attention.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from edgesr.quantize.classes import ChannelClasses, channel_classes
from edgesr.quantize.edits import over_weights
from edgesr.quantize.ties import CLIPS, tie
from torch import Tensor, fx

from edgesr.graph import add_constant, constant_of, is_call, shapes, tensor_nodes, tidy

aten = torch.ops.aten

LARGEST_FACTOR = 2.0**12
"""Beyond it a channel carries next to nothing, and its weights would vanish in their scale."""
HEADROOM = 0.7
"""How much of its tensor's range a channel is scaled up to fill. Photos to come hold values that
the calibration did not; filled to the brim, every channel would clip there, not just the widest."""
_SIDE = 192

Factors = npt.NDArray[np.float64]
"""By channel class."""
Extremes = dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
"""Smallest and largest value of every channel, by node name."""


def equalize(
    graph: fx.GraphModule, classes: ChannelClasses, factors: Factors, extremes: Extremes
) -> None:
    """Rescale channels of a graph in int8 spelling, in place, and the extremes with them."""
    for node in tensor_nodes(graph):
        if is_call(node, aten.conv2d.default):
            rescale(graph, node, classes, factors)
    for name, (low, high) in extremes.items():
        if name in classes.number:
            by = classes.factors(factors, name)
            extremes[name] = (low * by, high * by)
    tidy(graph)


def classes_of(graph: fx.GraphModule) -> ChannelClasses:
    """The channel classes of a graph in int8 spelling."""
    return channel_classes(graph, shapes(graph, _SIDE, _SIDE))


def largest_factors(graph: fx.GraphModule, classes: ChannelClasses, extremes: Extremes) -> Factors:
    """For every class, what brings its first channel near the range of its tensor; at least 1."""
    factors = np.full(classes.count, LARGEST_FACTOR)
    groups = tie(graph)
    nodes = counted(graph, classes)
    spans: dict[str, tuple[float, float]] = {}
    for node in nodes:
        low, high = extremes[node.name]
        known = spans.get(groups.find(node.name), (0.0, 0.0))
        spans[groups.find(node.name)] = (min(known[0], low.min()), max(known[1], high.max()))
    for node in nodes:
        low, high = extremes[node.name]
        lowest, highest = spans[groups.find(node.name)]
        share = np.maximum(_share(high, highest), _share(low, lowest))
        number, power = classes.number[node.name], classes.power[node.name]
        free = (number >= 0) & (share > 0)
        np.minimum.at(factors, number[free], share[free] ** (-1 / power[free]))
    return np.maximum(HEADROOM * factors, 1.0)


def counted(graph: fx.GraphModule, classes: ChannelClasses) -> list[fx.Node]:
    """Feature maps whose codes matter: all but what a clip is about to cut."""
    return [n for n in tensor_nodes(graph) if n.name in classes.number and not _is_clipped(n)]


def _is_clipped(node: fx.Node) -> bool:
    """What a clip removes gets no codes: the tensor after it decides."""
    users = [user for user in node.users if user.op != "output"]
    return bool(users) and all(is_call(user, *CLIPS) for user in users)


def _share(values: npt.NDArray[np.float64], bound: float) -> npt.NDArray[np.float64]:
    return np.maximum(values / bound, 0.0) if bound else np.zeros_like(values)


def rescale(
    graph: fx.GraphModule,
    conv: fx.Node,
    classes: ChannelClasses,
    factors: Factors,
) -> None:
    """Take the factors of what a convolution reads out of its weights, and put its own in."""
    weight, bias = constant_of(graph, conv.args[1]), constant_of(graph, conv.args[2])
    x = conv.args[0]
    if weight is None or not isinstance(x, fx.Node) or x.name not in classes.number:
        return
    out = torch.from_numpy(classes.factors(factors, conv.name))
    into = torch.from_numpy(classes.factors(factors, x.name))
    if bool((out == 1).all()) and bool((into == 1).all()):
        return
    groups = int(conv.args[6])  # type: ignore[call-overload, arg-type]
    scaled = weight.double() * out[:, None, None, None] / over_weights(into, groups, len(weight))
    arguments = list(conv.args)
    with graph.graph.inserting_before(conv):
        arguments[1] = _constant(graph, scaled, weight, f"{conv.name}_weight")
        if bias is not None:
            arguments[2] = _constant(graph, bias.double() * out, bias, f"{conv.name}_bias")
    conv.args = tuple(arguments)


def _constant(graph: fx.GraphModule, value: Tensor, like: Tensor, name: str) -> fx.Node:
    return add_constant(graph, value.to(like.dtype), name)

"""Spell a lowered graph with operators whose integer arithmetic every runtime shares.

    prelu(x; a), all a <= 1   =>   maximum(x, depthwise 1x1 conv(x; a))
    prelu(x; a), otherwise    =>   relu(x) + depthwise 1x1 conv(relu(-x); -a)
    prelu(x; one a)           =>   leaky_relu(x; a)
    leaky_relu(x; a)          =>   leaky_relu(x; a'),  256 a' a whole number, but for 2^-18 of it
    cat(image, features)      =>   cat(conv 1x1(image), features)

PReLU: LiteRT has no delegated int8 kernel for it; its own takes 164 ms for 360x640x32 where the
maximum takes 2.3 ms, and rounds differently from ONNX Runtime.

LeakyReLU: XNNPACK keeps 8 fractional bits of the slope and rounds halves up; ONNX Runtime
multiplies floats and rounds halves to even. On slopes of 8 bits both see the same product, and a
slope smaller by a 2^18th moves every half to the side to which XNNPACK rounds.

Concatenation: operands share one scale. The image's is 1/255 and stays so; a convolution is the one
operator that requantizes alike everywhere.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from edgesr.quantize.ties import is_moving, moved_inputs
from torch import Tensor, fx

from edgesr.errors import UnsupportedError
from edgesr.graph import add_constant, constant_of, input_of, is_call, layer_of, tensor_nodes, tidy

aten = torch.ops.aten

SLOPE_STEPS = 256
_NUDGE = 2.0**-18
REQUANTIZES = "edgesr_requantizes"
"""Mark in `node.meta`: this one-hot convolution is there to change the scale."""


def spell(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of the graph in the forms above. The input graph is left alone.

    Raises:
        UnsupportedError: a slope is not a constant.
    """
    graph = deepcopy(graph)
    for node in list(graph.graph.nodes):
        if is_call(node, aten.prelu.default):
            _replace_prelu(graph, node)
    for node in list(graph.graph.nodes):
        if is_call(node, aten.leaky_relu.default):
            _round_slope(node)
    _requantize_image(graph)
    return tidy(graph)


def depthwise(graph: fx.GraphModule, x: fx.Node, factors: Tensor, like: fx.Node) -> fx.Node:
    """Insert `x * factors` per channel as a 1x1 convolution, at the insertion point."""
    weight = add_constant(graph, factors.reshape(-1, 1, 1, 1).clone(), f"{like.name}_factors")
    args = (x, weight, None, [1, 1], [0, 0], [1, 1], factors.numel())
    return _call(graph, aten.conv2d.default, args, like)


def _replace_prelu(graph: fx.GraphModule, node: fx.Node) -> None:
    x, slopes = node.args[0], constant_of(graph, node.args[1])
    assert isinstance(x, fx.Node)
    if slopes is None:
        raise UnsupportedError(
            f"layer `{layer_of(node)}` ({node.name}): the slopes of this PReLU are computed, not "
            "learned; int8 needs constants"
        )
    with graph.graph.inserting_before(node):
        if slopes.numel() == 1:
            args: tuple[object, ...] = (x, float(slopes))
            new = _call(graph, aten.leaky_relu.default, args, node)
        elif bool((slopes <= 1).all()):
            scaled = depthwise(graph, x, slopes, node)
            new = _call(graph, aten.maximum.default, (x, scaled), node)
        else:
            negated = depthwise(graph, x, -torch.ones_like(slopes), node)
            below = _call(graph, aten.relu.default, (negated,), node)
            above = _call(graph, aten.relu.default, (x,), node)
            scaled = depthwise(graph, below, -slopes, node)
            new = _call(graph, aten.add.Tensor, (above, scaled), node)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)


def _round_slope(node: fx.Node) -> None:
    slope = float(node.args[1]) if len(node.args) > 1 else 0.01  # type: ignore[arg-type]
    steps = round(slope * SLOPE_STEPS) or 1
    exact = steps / SLOPE_STEPS
    node.args = (node.args[0], exact - abs(exact) * _NUDGE)


def _requantize_image(graph: fx.GraphModule) -> None:
    """Put a convolution between the image and a concatenation with features."""
    pixels: set[fx.Node] = {input_of(graph)}
    for node in tensor_nodes(graph):
        inputs = moved_inputs(node)
        if not inputs or not is_moving(graph, node):
            continue
        images = [x for x in inputs if x in pixels]
        if len(images) == len(inputs):
            pixels.add(node)
        elif images:
            for x in set(images):
                _requantize(graph, x, node)


def _requantize(graph: fx.GraphModule, x: fx.Node, user: fx.Node) -> None:
    channels = int(x.meta["val"].shape[1])
    with graph.graph.inserting_before(user):
        new = depthwise(graph, x, torch.ones(channels), user)
    new.meta[REQUANTIZES] = True
    user.replace_input_with(x, new)


def _call(
    graph: fx.GraphModule, target: object, args: tuple[object, ...], like: fx.Node
) -> fx.Node:
    node = graph.graph.call_function(target, args)  # type: ignore[arg-type]
    node.meta = {k: v for k, v in like.meta.items() if k != REQUANTIZES}
    return node

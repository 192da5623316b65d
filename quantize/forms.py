"""Spell a lowered graph with operators whose integer arithmetic every runtime shares.

    x * c, x / c, x + c, x - c   =>   depthwise 1x1 conv(x)             c constant per channel
    x ^ 2                        =>   x * x
    x ^ 0.5                      =>   sqrt(x)
    prelu(x; a), all a <= 1      =>   maximum(x, depthwise 1x1 conv(x; a))
    prelu(x; a), a > 1           =>   -maximum(-x, depthwise 1x1 conv(-x; a))
    prelu(x; one a)              =>   leaky_relu(x; a)
    avg_pool(x)                  =>   depthwise conv(x; 1 / count)
    cat(image, features)         =>   cat(depthwise 1x1 conv(image), features)
    conv(image - c)              =>   conv(patches(image))              (`patches.py`)

Convolution is the one operator that requantizes alike everywhere, so what changes a scale is one.

PReLU: LiteRT has no delegated int8 kernel for it; its own takes 164 ms for 360x640x32 where the
maximum takes 2.3 ms, and rounds differently from ONNX Runtime. Signs of the steep channels, those
with a > 1, go into the convolutions before and after it.

Average pooling: LiteRT rounds halves away from zero, ONNX Runtime to even; the convolution is exact
(all weights are 127), delegated, and has a scale of its own for its result.

Concatenation: operands share one scale, and the image's is 1/255 and stays so.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from edgesr.quantize.edits import call_like, change, over_weights
from edgesr.quantize.patches import read_pixels
from edgesr.quantize.ties import REQUANTIZES, is_moving, moved_inputs
from torch import Tensor, fx

from edgesr.errors import UnsupportedError
from edgesr.graph import (
    ANY_SIDE,
    add_constant,
    constant_of,
    input_of,
    is_call,
    layer_of,
    shapes,
    tensor_nodes,
    tidy,
)  # fmt: skip

aten = torch.ops.aten

_ARITHMETIC = (aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor)


def spell(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of the graph in the forms above. The given graph is left alone.

    Raises:
        UnsupportedError: a slope or an operand is neither a constant per channel nor an image.
    """
    graph = deepcopy(graph)
    known = shapes(graph, ANY_SIDE, ANY_SIDE)
    widths = {name: shape[1] for name, shape in known.items() if len(shape) > 1}
    for node in list(graph.graph.nodes):
        if is_call(node, *_ARITHMETIC):
            _replace_arithmetic(graph, node, widths)
        elif is_call(node, aten.pow.Tensor_Scalar):
            _replace_power(graph, node, widths)
        elif is_call(node, aten.prelu.default):
            _replace_prelu(graph, node, widths)
        elif is_call(node, aten.avg_pool2d.default):
            _replace_average(graph, node, widths)
    read_pixels(graph)
    _requantize_image(graph, widths)
    return tidy(graph)


def _replace_arithmetic(graph: fx.GraphModule, node: fx.Node, widths: dict[str, int]) -> None:
    x, operand = node.args[:2]
    reversed_ = _constant(graph, x) is not None
    if reversed_:
        x, operand = operand, x
    value = _constant(graph, operand)
    quotient = is_call(node, aten.div.Tensor)
    if value is None and not quotient:
        return
    assert isinstance(x, fx.Node)
    width = widths[x.name]
    if value is None or value.numel() not in (1, width) or (quotient and reversed_):
        raise UnsupportedError(
            f"layer `{layer_of(node)}` ({node.name}): {node.target} has an int8 form only where "
            "one operand is constant per channel"
        )
    value = value.reshape(-1).expand(width)
    ones = torch.ones(width)
    with graph.graph.inserting_before(node):
        if is_call(node, aten.mul.Tensor):
            new = _depthwise(graph, x, value, node)
        elif quotient:
            new = _depthwise(graph, x, 1 / value, node)
        elif is_call(node, aten.add.Tensor):
            new = _depthwise(graph, x, ones, node, offset=value)
        elif reversed_:
            new = _depthwise(graph, x, -ones, node, offset=value)
        else:
            new = _depthwise(graph, x, ones, node, offset=-value)
    _replace(graph, node, new, widths)


def _replace(graph: fx.GraphModule, old: fx.Node, new: fx.Node, widths: dict[str, int]) -> None:
    widths[new.name] = widths[old.name]
    old.replace_all_uses_with(new)
    graph.graph.erase_node(old)


def _constant(graph: fx.GraphModule, operand: object) -> Tensor | None:
    if isinstance(operand, (int, float)):
        return torch.tensor(float(operand))
    return constant_of(graph, operand)


def _replace_power(graph: fx.GraphModule, node: fx.Node, widths: dict[str, int]) -> None:
    x, exponent = node.args
    with graph.graph.inserting_before(node):
        if exponent == 2:
            new = call_like(graph, aten.mul.Tensor, (x, x), node)
        elif exponent == 0.5:
            new = call_like(graph, aten.sqrt.default, (x,), node)
        else:
            return
    _replace(graph, node, new, widths)


def _replace_prelu(graph: fx.GraphModule, node: fx.Node, widths: dict[str, int]) -> None:
    x, slopes = node.args[0], constant_of(graph, node.args[1])
    assert isinstance(x, fx.Node)
    if slopes is None:
        raise UnsupportedError(
            f"layer `{layer_of(node)}` ({node.name}): the slopes of this PReLU are computed, not "
            "learned; int8 needs constants"
        )
    with graph.graph.inserting_before(node):
        if slopes.numel() == 1:
            new = call_like(graph, aten.leaky_relu.default, (x, float(slopes)), node)
        else:
            steep = slopes > 1
            signs = 1 - 2 * steep.to(slopes.dtype)
            z = _times_before(graph, x, node, signs) if steep.any() else x
            scaled = _depthwise(graph, z, slopes, node)
            new = call_like(graph, aten.maximum.default, (z, scaled), node)
            new = _times_after(graph, new, node, signs) if steep.any() else new
    _replace(graph, node, new, widths)


def _times_before(graph: fx.GraphModule, x: fx.Node, prelu: fx.Node, signs: Tensor) -> fx.Node:
    """x times signs, in the convolution that makes it if nothing else reads that."""
    if list(x.users) == [prelu] and _has_weights(graph, x):
        change(graph, x, 1, lambda weight: weight * signs[:, None, None, None])
        if x.args[2] is not None:
            change(graph, x, 2, lambda bias: bias * signs)
        return x
    return _depthwise(graph, x, signs, prelu)


def _times_after(graph: fx.GraphModule, x: fx.Node, prelu: fx.Node, signs: Tensor) -> fx.Node:
    """x times signs, in the convolutions that read `prelu` if nothing else does."""
    if not all(_has_weights(graph, reader) for reader in prelu.users):
        return _depthwise(graph, x, signs, prelu)
    for reader in list(prelu.users):
        weight, groups = constant_of(graph, reader.args[1]), int(reader.args[6])  # type: ignore[call-overload, arg-type]
        assert weight is not None
        change(graph, reader, 1, partial(torch.mul, over_weights(signs, groups, len(weight))))
    return x


def _has_weights(graph: fx.GraphModule, node: fx.Node) -> bool:
    return is_call(node, aten.conv2d.default) and all(
        value is None or constant_of(graph, value) is not None for value in node.args[1:3]
    )


def _replace_average(graph: fx.GraphModule, node: fx.Node, widths: dict[str, int]) -> None:
    arguments: list[Any] = list(node.args)
    x, kernel, *rest = arguments
    defaults: list[Any] = [None, [0, 0], False, True, None]
    stride, padding, ceil, inclusive, divisor = [*rest, *defaults[len(rest) :]]
    assert isinstance(x, fx.Node)
    rows, columns = _pair(kernel)
    if ceil or (any(_pair(padding)) and not inclusive):
        raise UnsupportedError(
            f"layer `{layer_of(node)}` ({node.name}): average pooling has an int8 form only if "
            "every window counts the same number of values; use ceil_mode=False and "
            "count_include_pad=True"
        )
    weight = torch.full((widths[x.name], 1, rows, columns), 1 / (divisor or rows * columns))
    geometry = [_pair(stride or kernel), _pair(padding), [1, 1], widths[x.name]]
    with graph.graph.inserting_before(node):
        kernel = add_constant(graph, weight, f"{node.name}_average")
        new = call_like(graph, aten.conv2d.default, (x, kernel, None, *geometry), node)
    _replace(graph, node, new, widths)


def _pair(value: Any) -> list[int]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return items * 2 if len(items) == 1 else items


def _requantize_image(graph: fx.GraphModule, widths: dict[str, int]) -> None:
    """Put a convolution between the image and a concatenation with features."""
    images: set[fx.Node] = {input_of(graph)}
    for node in tensor_nodes(graph):
        inputs = moved_inputs(node)
        if not inputs or not is_moving(graph, node):
            continue
        pure = [x for x in inputs if x in images]
        if len(pure) == len(inputs):
            images.add(node)
            continue
        for x in dict.fromkeys(pure):
            with graph.graph.inserting_before(node):
                new = _depthwise(graph, x, torch.ones(widths[x.name]), node)
            new.meta[REQUANTIZES] = True
            node.replace_input_with(x, new)


def _depthwise(
    graph: fx.GraphModule,
    x: fx.Node,
    factors: Tensor,
    like: fx.Node,
    *,
    offset: Tensor | None = None,
) -> fx.Node:
    """Insert `x * factors + offset` per channel, at the insertion point."""
    kernel = factors.detach().reshape(-1, 1, 1, 1).clone()
    weight = add_constant(graph, kernel, f"{like.name}_factors")
    bias = None if offset is None else add_constant(graph, offset.clone(), f"{like.name}_offset")
    args = (x, weight, bias, [1, 1], [0, 0], [1, 1], factors.numel())
    return call_like(graph, aten.conv2d.default, args, like)

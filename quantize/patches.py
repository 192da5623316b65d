"""The image under a kernel, for convolutions that read a convolution of the image.

    conv(conv(image; W, b); V)  =>  conv(patches(image); V')
    V'[o, (i, y, x), h, w] = sum over c of V[o, c, h, w] W[c, i, y, x]

`patches` is a one-hot convolution: a channel for every weight of W's first row, that is pixel
(y, x) of colour i, and one that is constant, which carries b. Where the second convolution pads,
all of them are zero as the first one's result was: the same numbers in float, border included.

In 8 bits the first convolution's result was rounded, and with a global skip that rounding goes
straight into the output. Pixels are 8 bits to begin with. Given the scale of what they are
concatenated with (`align`), their codes are those of the image.
"""

from __future__ import annotations

from functools import partial

import torch
from edgesr.quantize.edits import call_like, change
from edgesr.quantize.readers import is_dense, readers
from edgesr.quantize.scheme import HIGHEST, LOWEST, QParams
from edgesr.quantize.ties import REQUANTIZES
from torch import Tensor, fx

from edgesr.graph import add_constant, constant_of, input_of, is_call, tensor_nodes

aten = torch.ops.aten

_SMALL = 2.0**-6
"""Of a pixel before `align`: what its neighbours in a concatenation need decides their scale."""


def is_of_image(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node is a convolution of the image that patches can stand for."""
    return (
        is_dense(node)
        and node.args[0] is input_of(graph)
        and list(node.args[3]) == [1, 1]  # type: ignore[arg-type]
        and list(node.args[5]) == [1, 1]  # type: ignore[arg-type]
        and not are_patches(graph, node)
    )


def are_patches(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node makes patches; a marked convolution of one pixel only requantizes."""
    if not is_dense(node) or not node.meta.get(REQUANTIZES):
        return False
    weight = constant_of(graph, node.args[1])
    return weight is not None and len(weight) > 1


def patches_for(graph: fx.GraphModule, conv: fx.Node) -> fx.Node:
    """The patches that `conv` multiplies with its weights, new: each has a scale of its own."""
    weight = constant_of(graph, conv.args[1])
    assert weight is not None
    count = weight[0].numel()
    pixels = torch.eye(count).reshape(count, *weight[0].shape)
    nothing = torch.zeros_like(pixels[:1])
    first = next(n for n in graph.graph.nodes if n.op == "call_function")
    with graph.graph.inserting_before(first):
        kernel = add_constant(graph, torch.cat([_SMALL * pixels, nothing]), "patches_weight")
        bias = add_constant(graph, _SMALL * (torch.arange(count + 1) == count), "patches_bias")
        arguments = (conv.args[0], kernel, bias, *conv.args[3:])
        node = call_like(graph, aten.conv2d.default, arguments, conv)
    node.meta[REQUANTIZES] = True
    return node


def composed(graph: fx.GraphModule, conv: fx.Node, reader: Tensor) -> Tensor:
    """The columns over patches of what were the columns over `conv`: O x (patch + 1) x kH x kW."""
    weight, bias = constant_of(graph, conv.args[1]), constant_of(graph, conv.args[2])
    assert weight is not None
    bias = torch.zeros(len(weight)) if bias is None else bias
    rows = torch.cat([weight.flatten(1), bias[:, None]], 1).detach().double() / _SMALL
    return torch.einsum("ochw,cp->ophw", reader.double(), rows).float()


def read_patches(graph: fx.GraphModule, conv: fx.Node) -> None:
    """Let the dense convolutions that read `conv` read patches."""
    patches = patches_for(graph, conv)
    for reader in [x for x in conv.users if is_dense(x)]:
        change(graph, reader, 1, partial(composed, graph, conv))
        reader.update_arg(0, patches)


def read_pixels(graph: fx.GraphModule) -> None:
    """Let the convolutions of an image less its mean, or in other units, read its pixels, in place.

    Less the mean of each colour, it takes more than 255 steps of a pixel, and has a range to choose
    in which photos clip that are darker or brighter than those of a calibration.
    """
    for node in [n for n in tensor_nodes(graph) if _scales_image(graph, n)]:
        if node.users and all(is_dense(user) for user in node.users):
            change(graph, node, 1, lambda w: torch.diag_embed(w.flatten())[:, :, None, None])
            node.update_arg(6, 1)
            read_patches(graph, node)


def _scales_image(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node is a depthwise 1x1 convolution of the image."""
    if not is_call(node, aten.conv2d.default) or node.args[0] is not input_of(graph):
        return False
    weight = constant_of(graph, node.args[1])
    return weight is not None and weight.shape == (node.args[6], 1, 1, 1)


def align(graph: fx.GraphModule, activations: dict[str, QParams]) -> None:
    """Give patches the codes of the image, in place, whatever scale they were left with."""
    image = activations[input_of(graph).name]
    for node in tensor_nodes(graph):
        if not are_patches(graph, node):
            continue
        weight, bias = (constant_of(graph, x) for x in node.args[1:3])
        assert weight is not None and bias is not None
        params = activations[node.name]
        factor = params.scale / image.scale
        lowest = params.scale * (LOWEST - params.zero_point)
        constant = max(lowest, params.scale * (HIGHEST - params.zero_point), key=abs)
        before, shift = weight.flatten(1).sum(1).double()[:-1] / factor, bias.double()
        for reader, start in readers(graph, node):
            kernel = constant_of(graph, reader.args[1])
            assert kernel is not None
            end = start + len(before)
            old = kernel.double()
            new = old.clone()
            new[:, start:end] = old[:, start:end] * before[:, None, None]
            moved = old[:, start:end] * (shift[:-1] - before * lowest)[:, None, None]
            new[:, end] = (old[:, end] * shift[-1] + moved.sum(1)) / constant
            kernel.data.copy_(new)
        weight.data.copy_((weight != 0) * factor)
        bias.data.fill_(lowest)
        bias.data[-1] = constant

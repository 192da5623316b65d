"""Codes of its own for each operand of a sum, each side of a PReLU or a gate, each half of a clip.

    conv(a + b; V)                    =>  conv(cat(a, b); [V, V])
    conv(prelu(conv(x; W, b); a); V)  =>  conv(relu(conv(x; [W, -W], [b, -b])); [V, -a V])
    conv(conv(x; W) * sigmoid(g); V)  =>  conv(relu(conv(x; [W, -W])) * sigmoid([g, g]); [V, -V])
    conv(clip(conv(x; W, b), 0, c); V)
        =>  conv(clip(conv(x; [W, W], [b, b - c/2]), 0, c/2); [V, V])
    conv(conv(image; W, b); V)        =>  conv(patches(image); V')       (`patches.py`)
    conv(cat(a, a + b); [V, W])       =>  conv(cat(a, b); [V + W, W])    (b of its own, if 1x1)

The same numbers in float. In 8 bits a sum costs a rounding and ties the channels of its operands to
common scales; an operand that is a convolution is split like a PReLU of slope 1. A PReLU spends the
codes of a channel on both sides of zero; a pair of ReLUs needs no maximum (`forms.py`) and each
half is scaled alone. So does a leaky ReLU, split where it costs little: behind a 1x1 convolution. A
clip's halves have steps half as large, and where one of them moves the other is exactly 0 or c/2.
The price: the second convolution reads two or three times the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from edgesr.quantize.edits import call_like, change
from edgesr.quantize.leaky import slope_of
from edgesr.quantize.patches import composed, is_of_image, patches_for, read_patches
from edgesr.quantize.readers import feeds_convolutions, is_dense, readers, reads
from torch import Tensor, fx

from edgesr.errors import UnsupportedError
from edgesr.graph import ANY_SIDE, add_constant, constant_of, is_call, shapes, tidy

aten = torch.ops.aten

Shapes = dict[str, tuple[int, ...]]


def split(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of a lowered graph with every sum, PReLU, gate and clip between convolutions split.

    What is needed elsewhere too, as the sums along a chain of residual blocks, stays as it is.

    Raises:
        UnsupportedError: there is nothing to split.
    """
    graph = deepcopy(graph)
    known = shapes(graph, ANY_SIDE, ANY_SIDE)
    gathered = [n for n in graph.graph.nodes if _gathers_sums(n, known)]
    for node in gathered:
        _gather_operands(graph, node, known)
    sums = [n for n in graph.graph.nodes if _is_sum(n, known) and _feeds_directly(n)]
    for node in sums:
        _split_sum(graph, node)
    heads = [n for n in graph.graph.nodes if is_of_image(graph, n) and any(map(is_dense, n.users))]
    for node in heads:
        read_patches(graph, node)
    gated = [n for n in graph.graph.nodes if _is_gated(n)]
    for node in gated:
        node.replace_all_uses_with(side := _two_sided(graph, node))
        side.update_arg(0, node)
    halves = [(n, _halves_of(graph, n)) for n in graph.graph.nodes if _is_between(n)]
    for node, found in halves:
        if found is not None:
            _double(graph, node, found)
    if not (gathered or gated or sums or heads or any(found for _, found in halves)):
        raise UnsupportedError(
            "no sum, PReLU, clip or gate of this network stands between convolutions, so there is "
            "nothing to split; leave --split out"
        )
    return tidy(graph)


def splits(graph: fx.GraphModule) -> bool:
    """Whether there is something to split."""
    try:
        split(graph)
    except UnsupportedError:
        return False
    return True


def _is_sum(node: fx.Node, known: Shapes) -> bool:
    """Whether the node adds two feature maps, neither broadcast."""
    if not is_call(node, aten.add.Tensor) or "alpha" in node.kwargs:
        return False
    operands = [known.get(x.name) for x in node.all_input_nodes]
    return len(operands) == 2 and operands[0] == operands[1] == known[node.name]


def _operands(node: fx.Node, known: Shapes) -> list[fx.Node]:
    """What a sum adds up to, through the sums in it; anything else is alone."""
    if not _is_sum(node, known):
        return [node]
    return [operand for x in node.all_input_nodes for operand in _operands(x, known)]


def _gathers_sums(node: fx.Node, known: Shapes) -> bool:
    """Whether convolutions, and nothing else, read feature maps some of which are sums."""
    return (
        is_call(node, aten.cat.default)
        and node.args[1:] == (1,)
        and _feeds_directly(node)
        and any(_is_sum(x, known) for x in node.all_input_nodes)
    )


def _feeds_directly(node: fx.Node) -> bool:
    """Whether nothing but dense convolutions read a tensor, themselves."""
    return bool(node.users) and all(is_dense(x) and x.args[0] is node for x in node.users)


def _is_gated(node: fx.Node) -> bool:
    """Whether a convolution's result is multiplied with a gate, and all the rest can be split."""
    return is_dense(node) and any(_gate_of(user) for user in node.users) and _splits(node)


def _gate_of(product: fx.Node) -> fx.Node | None:
    """The convolution of which the second factor is the sigmoid, both of no other use. It has a
    channel for each of the first factor's, or one for all."""
    if not is_call(product, aten.mul.Tensor) or not isinstance(gate := product.args[1], fx.Node):
        return None
    if not is_call(gate, aten.sigmoid.default) or len(gate.users) > 1:
        return None
    source = gate.args[0]
    assert isinstance(source, fx.Node)
    return source if is_dense(source) and len(source.users) == 1 else None


def _splits(node: fx.Node) -> bool:
    """Whether all that read a tensor multiply its channels with weights, some behind a gate."""
    return bool(node.users) and all(
        reads(user, node) or (_gate_of(user) and user.args[0] is node and feeds_convolutions(user))
        for user in node.users
    )


@dataclass(frozen=True)
class _Halves:
    """What becomes of an activation whose channels are doubled."""

    weight: float
    """Of the second half's first convolution, in terms of the first half's."""
    shift: float
    """Added to its bias."""
    factors: Tensor
    """Of the columns that read it, 1 x channels x 1 x 1."""
    target: object
    arguments: tuple[object, ...]
    """Of the activation, behind its input."""


def _is_between(node: fx.Node) -> bool:
    """Whether an activation has a convolution of its own, and all that read it are some too."""
    if not is_call(node, aten.prelu.default, aten.leaky_relu.default, aten.clamp.default):
        return False
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return is_dense(source) and len(source.users) == 1 and _splits(node)


def _halves_of(graph: fx.GraphModule, node: fx.Node) -> _Halves | None:
    if not is_call(node, aten.clamp.default):
        slopes = _slopes_of(graph, node)
        if slopes is None:
            return None
        factors = -slopes.detach().reshape(1, -1, 1, 1)
        return _Halves(-1.0, 0.0, factors, aten.relu.default, ())
    lowest, highest = (*node.args[1:3], None, None)[:2]
    if lowest != 0 or not isinstance(highest, (int, float)) or highest <= 0:
        return None
    middle = highest / 2
    source = node.args[0]
    assert isinstance(source, fx.Node)
    weight = constant_of(graph, source.args[1])
    assert weight is not None
    ones = torch.ones(1, len(weight), 1, 1)
    return _Halves(1.0, -middle, ones, aten.clamp.default, (0.0, middle))


def _slopes_of(graph: fx.GraphModule, node: fx.Node) -> Tensor | None:
    """Of every channel. A leaky ReLU's other side is small: it is worth few multiplications."""
    if is_call(node, aten.leaky_relu.default):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        weight = constant_of(graph, source.args[1])
        assert weight is not None
        return torch.full((len(weight),), slope_of(node)) if _is_pointwise(graph, source) else None
    slopes = constant_of(graph, node.args[1])
    return None if slopes is None or slopes.numel() == 1 else slopes


def _split_sum(graph: fx.GraphModule, node: fx.Node) -> None:
    operands: list[fx.Node] = []
    columns: list[Callable[[Tensor], Tensor]] = []
    for x in node.all_input_nodes:
        if is_of_image(graph, x):
            operands.append(patches_for(graph, x))
            columns.append(partial(composed, graph, x))
        else:
            alone = is_dense(x) and len(x.users) == 1
            operands.append(_two_sided(graph, x) if alone else x)
            columns.append(lambda weight: weight)
    for user in list(node.users):
        change(graph, user, 1, lambda w: torch.cat([of(w) for of in columns], 1))
    _substitute(graph, node, aten.cat.default, (operands, 1))


def _gather_operands(graph: fx.GraphModule, node: fx.Node, known: Shapes) -> None:
    """Each operand of the sums once, however many of them it is in, multiplied with all columns
    that read one."""
    spans: dict[fx.Node, list[tuple[int, int]]] = {}
    start = 0
    for x in node.args[0]:  # type: ignore[union-attr]
        assert isinstance(x, fx.Node)
        end = start + known[x.name][1]
        for operand in _operands(x, known):
            spans.setdefault(operand, []).append((start, end))
        start = end
    images = {x: patches_for(graph, x) for x in spans if is_of_image(graph, x)}
    pointwise = [x for x in spans if x not in images and _is_pointwise(graph, x)]
    tensors = {**images, **{x: _repeated(graph, x) for x in pointwise}}

    def columns(weight: Tensor) -> Tensor:
        found = []
        for operand, places in spans.items():
            column = torch.stack([weight[:, a:b] for a, b in places]).sum(0)
            found.append(composed(graph, operand, column) if operand in images else column)
        return torch.cat(found, 1)

    for reader in list(node.users):
        change(graph, reader, 1, columns)
    _substitute(graph, node, aten.cat.default, ([tensors.get(x, x) for x in spans], 1))


def _is_pointwise(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node is a convolution that costs next to nothing."""
    weight = constant_of(graph, node.args[1]) if is_dense(node) else None
    return weight is not None and weight[0, 0].numel() == 1


def _repeated(graph: fx.GraphModule, conv: fx.Node) -> fx.Node:
    """The same convolution once more, to be split whatever else reads the first one."""
    with graph.graph.inserting_after(conv):
        twin = graph.graph.node_copy(conv)
    return _two_sided(graph, twin)


def _two_sided(graph: fx.GraphModule, conv: fx.Node) -> fx.Node:
    """A convolution's result as a PReLU of slope 1, to be split like any other."""
    with graph.graph.inserting_after(conv):
        width = len(constant_of(graph, conv.args[1]))  # type: ignore[arg-type]
        slopes = add_constant(graph, torch.ones(width), f"{conv.name}_slopes")
    with graph.graph.inserting_after(slopes):
        return call_like(graph, aten.prelu.default, (conv, slopes), conv)


def _double(graph: fx.GraphModule, node: fx.Node, halves: _Halves) -> None:
    first = node.args[0]
    assert isinstance(first, fx.Node)
    products = [user for user in node.users if is_call(user, aten.mul.Tensor)]
    for reader, start in [found for x in (node, *products) for found in readers(graph, x)]:
        change(graph, reader, 1, partial(_doubled, start=start, factors=halves.factors))
    for product in products:
        gate = _gate_of(product)
        assert gate is not None
        weight = constant_of(graph, gate.args[1])
        assert weight is not None
        if len(weight) > 1:  # one alone broadcasts over both halves
            _double_rows(graph, gate, 1.0, 0.0)
    _double_rows(graph, first, halves.weight, halves.shift)
    _substitute(graph, node, halves.target, (first, *halves.arguments))


def _double_rows(graph: fx.GraphModule, conv: fx.Node, weight: float, shift: float) -> None:
    """Twice the outputs; the second half with other weights and another bias."""
    change(graph, conv, 1, lambda w: torch.cat([w, weight * w]))
    if conv.args[2] is None:
        width = len(constant_of(graph, conv.args[1])) // 2  # type: ignore[arg-type]
        with graph.graph.inserting_before(conv):
            conv.update_arg(2, add_constant(graph, torch.zeros(width), f"{conv.name}_bias"))
    change(graph, conv, 2, lambda b: torch.cat([b, weight * b + shift]))


def _doubled(weight: Tensor, start: int, factors: Tensor) -> Tensor:
    """With columns for the second half, behind those for the first."""
    end = start + factors.shape[1]
    return torch.cat([weight[:, :end], factors * weight[:, start:end], weight[:, end:]], 1)


def _substitute(
    graph: fx.GraphModule, node: fx.Node, target: object, args: tuple[object, ...]
) -> None:
    with graph.graph.inserting_before(node):
        new = call_like(graph, target, args, node)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)

"""Codes of its own for each operand of a sum, each side of a PReLU, each half of a clip.

    conv(a + b; V)                    =>  conv(cat(a, b); [V, V])
    conv(prelu(conv(x; W, b); a); V)  =>  conv(relu(conv(x; [W, -W], [b, -b])); [V, -a V])
    conv(clip(conv(x; W, b), 0, c); V)
        =>  conv(clip(conv(x; [W, W], [b, b - c/2]), 0, c/2); [V, V])

The same numbers in float. In 8 bits a sum costs a rounding and ties the channels of its operands to
common scales; an operand that is a convolution is split like a PReLU of slope 1. A PReLU spends the
codes of a channel on both sides of zero; a pair of ReLUs needs no maximum (`forms.py`) and each
half is scaled alone. A clip's halves have steps half as large, and where one of them moves the
other is exactly 0 or c/2. The price: the second convolution reads two or three times the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from edgesr.quantize.forms import ANY_SIDE, call_like
from torch import Tensor, fx

from edgesr.errors import UnsupportedError
from edgesr.graph import add_constant, constant_of, input_of, is_call, shapes, tidy

aten = torch.ops.aten


def split(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of a lowered graph with every sum, PReLU and clip between convolutions split.

    What is needed elsewhere too, as the sums along a chain of residual blocks, stays as it is.

    Raises:
        UnsupportedError: there is nothing to split.
    """
    graph = deepcopy(graph)
    known = shapes(graph, ANY_SIDE, ANY_SIDE)
    sums = [n for n in graph.graph.nodes if is_call(n, aten.add.Tensor) and _is_split(n, known)]
    for node in sums:
        _split_sum(graph, node)
    halves = [(n, _halves_of(graph, n)) for n in graph.graph.nodes if _is_between(n)]
    for node, found in halves:
        if found is not None:
            _double(graph, node, found)
    if not sums and not any(found for _, found in halves):
        raise UnsupportedError(
            "no sum, PReLU or clip of this network stands between convolutions, so there is "
            "nothing to split; leave --split out"
        )
    return tidy(graph)


def _is_split(node: fx.Node, known: dict[str, tuple[int, ...]]) -> bool:
    """Whether a sum of two feature maps, neither broadcast, is read by convolutions only."""
    operands = [known.get(x.name) for x in node.all_input_nodes]
    same = len(operands) == 2 and operands[0] == operands[1] == known[node.name]
    return same and "alpha" not in node.kwargs and _feeds_convolutions(node)


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
    if not is_call(node, aten.prelu.default, aten.clamp.default):
        return False
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if not _is_dense(source) or len(source.users) > 1:
        return False
    return bool(node.users) and all(_reads(user, node) for user in node.users)


def _halves_of(graph: fx.GraphModule, node: fx.Node) -> _Halves | None:
    if is_call(node, aten.prelu.default):
        slopes = constant_of(graph, node.args[1])
        if slopes is None or slopes.numel() == 1:
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


def _reads(user: fx.Node, node: fx.Node) -> bool:
    """Whether `user` multiplies the channels of `node` with weights, itself or through a `cat`."""
    if is_call(user, aten.cat.default):
        operands = list(user.args[0])  # type: ignore[arg-type]
        return bool(operands.count(node) == 1 and user.args[1] == 1) and _feeds_convolutions(user)
    return _is_dense(user) and user.args[0] is node


def _feeds_convolutions(node: fx.Node) -> bool:
    return all(_is_dense(user) and user.args[0] is node for user in node.users)


def _is_dense(node: fx.Node) -> bool:
    """Whether the node is a convolution of one group."""
    return is_call(node, aten.conv2d.default) and bool(len(node.args) < 7 or node.args[6] == 1)


def _split_sum(graph: fx.GraphModule, node: fx.Node) -> None:
    for user in list(node.users):
        _change(graph, user, 1, lambda weight: torch.cat([weight, weight], 1))
    operands = [_two_sided(graph, x, node) for x in node.all_input_nodes]
    _substitute(graph, node, aten.cat.default, (operands, 1))


def _two_sided(graph: fx.GraphModule, operand: fx.Node, total: fx.Node) -> fx.Node:
    """An operand that is a convolution as a PReLU of slope 1, to be split like any other.

    The first convolution is done a second time if others need it: it reads the image and is cheap.
    """
    if not _is_dense(operand):
        return operand
    with graph.graph.inserting_before(total):
        if len(operand.users) > 1:
            if operand.args[0] is not input_of(graph):
                return operand
            operand = graph.graph.node_copy(operand)
        width = len(constant_of(graph, operand.args[1]))  # type: ignore[arg-type]
        slopes = add_constant(graph, torch.ones(width), f"{operand.name}_slopes")
        return call_like(graph, aten.prelu.default, (operand, slopes), operand)


def _double(graph: fx.GraphModule, node: fx.Node, halves: _Halves) -> None:
    first, width = node.args[0], halves.factors.shape[1]
    assert isinstance(first, fx.Node)
    for user in list(node.users):
        joins = is_call(user, aten.cat.default)
        start = _first_channel(graph, user, node) if joins else 0
        for reader in list(user.users) if joins else [user]:
            _change(graph, reader, 1, partial(_doubled, start=start, factors=halves.factors))
    _change(graph, first, 1, lambda weight: torch.cat([weight, halves.weight * weight]))
    if first.args[2] is None:
        with graph.graph.inserting_before(first):
            first.update_arg(2, add_constant(graph, torch.zeros(width), f"{first.name}_bias"))
    _change(graph, first, 2, lambda b: torch.cat([b, halves.weight * b + halves.shift]))
    _substitute(graph, node, halves.target, (first, *halves.arguments))


def _doubled(weight: Tensor, start: int, factors: Tensor) -> Tensor:
    """With columns for the second half, behind those for the first."""
    end = start + factors.shape[1]
    return torch.cat([weight[:, :end], factors * weight[:, start:end], weight[:, end:]], 1)


def _first_channel(graph: fx.GraphModule, joined: fx.Node, operand: fx.Node) -> int:
    """Where the channels of an operand start in a `cat`."""
    known = shapes(graph, ANY_SIDE, ANY_SIDE)
    operands = list(joined.args[0])  # type: ignore[arg-type]
    return sum(known[x.name][1] for x in operands[: operands.index(operand)])


def _change(
    graph: fx.GraphModule, node: fx.Node, argument: int, how: Callable[[Tensor], Tensor]
) -> None:
    """Give a convolution other weights or another bias."""
    value = constant_of(graph, node.args[argument])
    assert value is not None
    with graph.graph.inserting_before(node):
        new = add_constant(graph, how(value.detach()).clone(), f"{node.name}_split")
    node.update_arg(argument, new)


def _substitute(
    graph: fx.GraphModule, node: fx.Node, target: object, args: tuple[object, ...]
) -> None:
    with graph.graph.inserting_before(node):
        new = call_like(graph, target, args, node)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)

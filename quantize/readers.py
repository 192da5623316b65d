"""Which convolutions multiply the channels of a tensor, and where among their columns."""

from __future__ import annotations

import torch
from torch import fx

from edgesr.graph import ANY_SIDE, is_call, shapes

aten = torch.ops.aten


def is_dense(node: fx.Node) -> bool:
    """Whether the node is a convolution of one group."""
    return is_call(node, aten.conv2d.default) and bool(len(node.args) < 7 or node.args[6] == 1)


def feeds_convolutions(node: fx.Node) -> bool:
    """Whether nothing but dense convolutions read a tensor, themselves or through a `cat`."""
    return bool(node.users) and all(reads(user, node) for user in node.users)


def reads(user: fx.Node, node: fx.Node) -> bool:
    """Whether `user` multiplies the channels of `node` with weights, itself or through a `cat`."""
    if is_call(user, aten.cat.default):
        operands = list(user.args[0])  # type: ignore[arg-type]
        once = operands.count(node) == 1 and user.args[1] == 1
        return bool(once and all(is_dense(x) and x.args[0] is user for x in user.users))
    return is_dense(user) and user.args[0] is node


def readers(graph: fx.GraphModule, node: fx.Node) -> list[tuple[fx.Node, int]]:
    """The convolutions that read a tensor, itself or in a `cat`, each with the first of its columns
    that belongs to it. Other readers are left out."""
    found: list[tuple[fx.Node, int]] = []
    for user in node.users:
        if is_call(user, aten.cat.default):
            start = _first_channel(graph, user, node)
            found += [(reader, start) for reader in user.users]
        elif is_dense(user):
            found.append((user, 0))
    return found


def _first_channel(graph: fx.GraphModule, joined: fx.Node, operand: fx.Node) -> int:
    known = shapes(graph, ANY_SIDE, ANY_SIDE)
    operands = list(joined.args[0])  # type: ignore[arg-type]
    return sum(known[x.name][1] for x in operands[: operands.index(operand)])

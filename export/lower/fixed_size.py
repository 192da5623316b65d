"""The graph at one image size: what follows from the size alone becomes a constant.

A network for any scale computes where its output pixels lie, and what is added or mixed there, from
the sides of the image. With the sides known these are tables; what is left is convolutions, sums
and products with tables, and pixels taken from places that are written down.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import fx
from torch.fx.node import map_arg

from edgesr.graph import aten, fold_constants, is_call, shapes, tensor_nodes, tidy


def at_size(graph: fx.GraphModule, height: int, width: int) -> fx.GraphModule:
    """The same function of images of this size. The given graph is left as it is."""
    fixed = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    known = shapes(fixed, height, width)
    images = set(tensor_nodes(fixed))
    for node in list(fixed.graph.nodes):
        if is_call(node, aten.sym_size.int):
            _become(node, known[node.args[0].name][node.args[1]])
        elif node.op == "call_function" and node not in images and not node.all_input_nodes:
            _become(node, node.target(*node.args))
    fold_constants(fixed)
    return tidy(fixed)


def _become(node: fx.Node, number: int) -> None:
    """Let everyone who read the node have the number."""

    def exchange(other: fx.Node) -> Any:
        return number if other is node else other

    for user in list(node.users):
        user.args = map_arg(user.args, exchange)
        user.kwargs = map_arg(user.kwargs, exchange)

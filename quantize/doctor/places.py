"""Where to look: the tensors at which int8 rounds, under the name of the layer that rounds them.

A convolution and the ReLU or clip after it are one operator of the file: what the clip cuts off
is no error, so figures are taken after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from edgesr.quantize.scheme import QuantizedGraph
from edgesr.quantize.ties import CLIPS, is_moving, moved_inputs
from torch import fx

from edgesr.graph import is_call, layer_of, tensor_nodes

aten = torch.ops.aten
SUMS = (aten.add.Tensor, aten.sub.Tensor)


@dataclass(frozen=True)
class Place:
    """One tensor that is rounded to codes."""

    source: fx.Node
    """The operator that computes it."""
    node: fx.Node
    """The tensor as stored: `source`, or the clip fused to it."""
    name: str
    kind: str

    @property
    def fused(self) -> bool:
        """Whether a clip is part of the operator."""
        return self.node is not self.source


def places(quantized: QuantizedGraph) -> list[Place]:
    """In graph order; operators that only move values round nothing and are left out."""
    graph = quantized.graph
    found: list[Place] = []
    taken: dict[str, int] = {}
    for node in tensor_nodes(graph):
        if node.op != "call_function" or is_moving(graph, node):
            continue
        kind, name = kind_of(node), name_of(node)
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name = f"{name} ({kind})" if taken[name] == 2 else f"{name} ({kind} {taken[name] - 1})"
        found.append(Place(node, stored(node), name, kind))
    return found


def stored(node: fx.Node) -> fx.Node:
    """The tensor a file stores for this operator: behind the clips only it feeds."""
    while len(node.users) == 1 and is_call(user := next(iter(node.users)), *CLIPS):
        node = user
    return node


def kind_of(node: fx.Node) -> str:
    """`conv`, `add`, `mul`, `sigmoid` ..."""
    name = str(node.target).removeprefix("aten.").split(".")[0]
    return "conv" if name == "conv2d" else name


def name_of(node: fx.Node) -> str:
    """The layer's path in the source network; else its kind and what it follows."""
    if layer_of(node) != node.name:
        return layer_of(node)
    waiting = list(node.all_input_nodes)
    while waiting:
        before = waiting.pop(0)
        if layer_of(before) != before.name:
            return f"{kind_of(node)} after {layer_of(before)}"
        waiting += before.all_input_nodes
    return node.name


def readers(graph: fx.GraphModule, place: Place, known: list[Place]) -> tuple[str, ...]:
    """Names of the places that read this tensor, through operators that only move it."""
    names = {other.source: other.name for other in known}
    found: list[str] = []
    waiting, seen = list(place.node.users), set[fx.Node]()
    while waiting:
        user = waiting.pop(0)
        if user in seen or user.op != "call_function":
            continue
        seen.add(user)
        if user in names:
            found.append(names[user])
        elif is_moving(graph, user) and set(moved_inputs(user)) & {place.node, *seen}:
            waiting += list(user.users)
    return tuple(found)

"""Which tensors must share a scale, because the operator between them only moves values.

A shared scale makes these operators exact: codes are copied, compared or averaged, never rescaled.
XNNPACK refuses several of them otherwise (depth to space, clamp, concatenation).
"""

from __future__ import annotations

import torch
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from torch import fx

from edgesr.graph import constant_of, is_call, tensor_nodes
from edgesr.models.enlarge import rectangle_to_space

aten = torch.ops.aten

REQUANTIZES = "edgesr_requantizes"
"""Mark in `node.meta` of a one-hot convolution that is there to change the scale."""

CLIPS = (aten.relu.default, aten.clamp.default)
"""What they cut off needs no codes: the tensor before takes the range after."""

MOVES = (
    *CLIPS,
    depth_to_space,
    space_to_depth,
    rectangle_to_space,
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
    aten.slice.Tensor,
    aten.max_pool2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
    aten.pad.default,
    aten.prelu.default,
)
MERGES = (aten.cat.default, aten.maximum.default, aten.minimum.default)


def moved_inputs(node: fx.Node) -> list[fx.Node]:
    """The tensors whose values an operator of this kind would pass on; empty for other kinds."""
    if is_call(node, *MOVES, aten.conv2d.default):
        return [node.args[0]]  # type: ignore[list-item]
    if is_call(node, aten.cat.default):
        return list(node.args[0])  # type: ignore[arg-type]
    return list(node.all_input_nodes) if is_call(node, *MERGES) else []


def is_moving(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the output consists of values of the inputs (or stays between them)."""
    if is_call(node, aten.conv2d.default):
        return is_copy(graph, node)
    return is_call(node, *MOVES, *MERGES)


def is_copy(graph: fx.GraphModule, node: fx.Node) -> bool:
    """A convolution with one weight of 1.0 per output channel, such as NCNet's anchor."""
    weight = constant_of(graph, node.args[1])
    bias = constant_of(graph, node.args[2])
    if weight is None or node.meta.get(REQUANTIZES) or (bias is not None and bias.any()):
        return False
    ones = (weight == 1).flatten(1).sum(1)
    others = ((weight != 0) & (weight != 1)).any()
    return bool((ones == 1).all()) and not bool(others)


class Groups:
    """A partition of tensors; `find` names the group a tensor is in."""

    def __init__(self, names: list[str]) -> None:
        self._parent = {name: name for name in names}

    def find(self, name: str) -> str:
        """The representative of the group."""
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, a: str, b: str) -> None:
        """Make two groups one."""
        self._parent[self.find(a)] = self.find(b)

    def all(self) -> dict[str, list[str]]:
        """Members by representative, in order."""
        groups: dict[str, list[str]] = {}
        for name in self._parent:
            groups.setdefault(self.find(name), []).append(name)
        return groups


def tie(graph: fx.GraphModule) -> Groups:
    """Group the tensors of a graph, by node name."""
    nodes = tensor_nodes(graph)
    groups = Groups([node.name for node in nodes])
    for node in nodes:
        if is_moving(graph, node):
            for x in moved_inputs(node):
                groups.join(x.name, node.name)
    return groups

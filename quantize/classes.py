"""Which channels may be rescaled together without changing the network.

Multiply one channel of a feature map by s > 0 and divide the weights that read it by s: nothing
changes, if every operator in between passes the factor on. A *channel class* is a set of channels,
across tensors, that one factor rescales. Convolutions separate classes, since their weights can
absorb any factor; ReLU, additions, concatenations, shuffles and poolings pass it on from the
channels they read to the ones they write. Squares carry it twice, roots half of it.

Image in and out, sigmoids and clips at fixed values know no factor: their channels are pinned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from edgesr.quantize.ties import is_copy
from torch import fx

from edgesr.graph import input_of, is_call, output_of, tensor_nodes
from edgesr.models.enlarge import rectangle_to_space

aten = torch.ops.aten

_CHANNELWISE = (
    aten.relu.default,
    aten.leaky_relu.default,
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
    aten.maximum.default,
    aten.minimum.default,
    aten.add.Tensor,
    aten.sub.Tensor,
)
_SHUFFLES = (
    depth_to_space,
    space_to_depth,
    rectangle_to_space,
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
)
_PIN = -1


@dataclass(frozen=True)
class ChannelClasses:
    """A partition of all channels of all tensors."""

    number: dict[str, npt.NDArray[np.int64]]
    """Class of every channel, by node name; -1 for pinned channels."""
    power: dict[str, npt.NDArray[np.float64]]
    """A channel is multiplied by its class's factor to this power."""
    count: int

    def factors(self, of_class: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        """What every channel of a tensor is multiplied by, given a factor per class."""
        padded = np.append(of_class, 1.0)  # class -1 reads the last
        factors: npt.NDArray[np.float64] = padded[self.number[name]] ** self.power[name]
        return factors


def channel_classes(graph: fx.GraphModule, shapes: dict[str, tuple[int, ...]]) -> ChannelClasses:
    """Partition the channels of a graph.

    Args:
        graph: in int8 spelling (`forms.spell`).
        shapes: of its tensors (`edgesr.graph.shapes`).
    """
    union = _Union()
    first: dict[str, int] = {}
    nodes = [n for n in tensor_nodes(graph) if len(shapes[n.name]) == 4]
    for node in nodes:
        first[node.name] = union.add(shapes[node.name][1])
    for node in nodes:
        _relate(graph, node, union, first, shapes)
    for node in (input_of(graph), output_of(graph)):
        _pin(union, first, shapes, node)
    names = [n.name for n in nodes]
    return _read(union, {name: (first[name], shapes[name][1]) for name in names})


def _relate(
    graph: fx.GraphModule,
    node: fx.Node,
    union: _Union,
    first: dict[str, int],
    shapes: dict[str, tuple[int, ...]],
) -> None:
    at, width = first[node.name], shapes[node.name][1]
    inputs = [x for x in node.all_input_nodes if x.name in first]
    arguments: Any = node.args
    if node.op == "placeholder":
        return
    if is_call(node, aten.conv2d.default):
        if is_copy(graph, node):
            _pin(union, first, shapes, node)
            _pin(union, first, shapes, inputs[0])
    elif is_call(node, aten.slice.Tensor):
        dim, start = [*arguments[1:], 0, 0][:2]
        offset = int(start or 0) if dim == 1 else 0
        step = int(arguments[4]) if dim == 1 and len(arguments) > 4 else 1
        source = first[inputs[0].name] + offset % shapes[inputs[0].name][1]
        for c in range(width):
            union.join(at + c, source + c * step)
    elif is_call(node, aten.cat.default) and (arguments[1:] or (0,))[0] == 1:
        for x in arguments[0]:
            for c in range(shapes[x.name][1]):
                union.join(at + c, first[x.name] + c)
            at += shapes[x.name][1]
    elif is_call(node, *_SHUFFLES):
        _relate_shuffle(node, inputs[0], union, first, shapes)
    elif is_call(node, aten.mul.Tensor):
        for c in range(width):
            union.multiply(at + c, *(first[x.name] + c % shapes[x.name][1] for x in arguments[:2]))
    elif is_call(node, aten.sqrt.default):
        for c in range(width):
            union.join(first[inputs[0].name] + c, at + c, 2.0)
    elif _passes_on(node) and all(shapes[x.name][1] in (1, width) for x in inputs):
        for x in inputs:
            for c in range(width):
                union.join(at + c, first[x.name] + c % shapes[x.name][1])
    else:
        for x in (*inputs, node):
            _pin(union, first, shapes, x)


def _passes_on(node: fx.Node) -> bool:
    if is_call(node, aten.clamp.default):
        low, high = ([*list(node.args[1:]), None, None])[:2]
        return all(v is None or v == 0 or math.isinf(v) for v in (low, high))  # type: ignore[arg-type]
    if is_call(node, aten.mean.dim):
        return 1 not in node.args[1]  # type: ignore[operator]
    if is_call(node, aten.pad.default):
        return not (len(node.args) > 3 and node.args[3])
    return is_call(node, *_CHANNELWISE)


def _relate_shuffle(
    node: fx.Node,
    x: fx.Node,
    union: _Union,
    first: dict[str, int],
    shapes: dict[str, tuple[int, ...]],
) -> None:
    wide, narrow = (node, x) if shapes[node.name][1] > shapes[x.name][1] else (x, node)
    channels, blocks = shapes[narrow.name][1], shapes[wide.name][1] // shapes[narrow.name][1]
    # Channels vary fastest.
    inner = is_call(node, depth_to_space, space_to_depth, rectangle_to_space)
    for c in range(channels):
        for k in range(blocks):
            deep = k * channels + c if inner else c * blocks + k
            union.join(first[wide.name] + deep, first[narrow.name] + c)


def _pin(
    union: _Union, first: dict[str, int], shapes: dict[str, tuple[int, ...]], node: fx.Node
) -> None:
    for c in range(shapes[node.name][1]):
        union.pin(first[node.name] + c)


def _read(union: _Union, spans: dict[str, tuple[int, int]]) -> ChannelClasses:
    numbers: dict[int, int] = {}
    number: dict[str, npt.NDArray[np.int64]] = {}
    power: dict[str, npt.NDArray[np.float64]] = {}
    for name, (at, width) in spans.items():
        number[name], power[name] = np.empty(width, np.int64), np.ones(width)
        for c in range(width):
            root, exponent = union.find(at + c)
            if union.pinned(root):
                number[name][c] = _PIN
            else:
                number[name][c] = numbers.setdefault(root, len(numbers))
                power[name][c] = exponent
    return ChannelClasses(number, power, len(numbers))


class _Union:
    """Union-find in which an element's factor is a power of its root's."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._power: list[float] = []
        self._pins: set[int] = set()

    def add(self, count: int) -> int:
        """New elements; returns the first one's index."""
        start = len(self._parent)
        self._parent += range(start, start + count)
        self._power += [1.0] * count
        return start

    def find(self, element: int) -> tuple[int, float]:
        """Root, and the power of the root's factor that is the element's factor."""
        power = 1.0
        while self._parent[element] != element:
            power *= self._power[element]
            element = self._parent[element]
        return element, power

    def join(self, a: int, b: int, power: float = 1.0) -> None:
        """Declare factor(a) = factor(b) ** power."""
        (root_a, of_a), (root_b, of_b) = self.find(a), self.find(b)
        if root_a == root_b:
            if of_a != of_b * power:
                self._pins.add(root_a)
            return
        self._parent[root_a] = root_b
        self._power[root_a] = of_b * power / of_a
        if root_a in self._pins:
            self._pins.add(root_b)

    def multiply(self, product: int, a: int, b: int) -> None:
        """Declare factor(product) = factor(a) factor(b)."""
        if self.find(a)[0] == self.find(b)[0]:
            self.join(product, a, 1.0 + self.find(b)[1] / self.find(a)[1])
        elif self.pinned(self.find(a)[0]):
            self.join(product, b)
        elif self.pinned(self.find(b)[0]):
            self.join(product, a)
        else:
            for element in (product, a, b):
                self.pin(element)

    def pin(self, element: int) -> None:
        """Declare factor(element) = 1."""
        self._pins.add(self.find(element)[0])

    def pinned(self, root: int) -> bool:
        """Whether a root's factor is 1."""
        return root in self._pins

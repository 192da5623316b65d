"""Which parts of a graph are linear, and what each of their nodes computes.

A node with a rule is linear in its inputs; its *own* map is that operator and nothing more. All
other nodes are opaque: their output is a root that maps start from. A linear node that an opaque
one reads (or that is the graph's output) is *fixed*: its value must exist whatever becomes of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import fx

from edgesr.collapse.algebra import LinearMap, identity
from edgesr.collapse.forms import Cost
from edgesr.collapse.rules import RULES, Facts
from edgesr.graph import input_of, output_of, tensor_nodes

aten = torch.ops.aten


@dataclass
class Region:
    """The linear nodes of a graph (all of them, connected or not)."""

    facts: Facts
    own: dict[fx.Node, LinearMap] = field(default_factory=dict)
    """Linear nodes in the graph's order, each as a map of its inputs."""
    fixed: set[fx.Node] = field(default_factory=set)
    readers: dict[fx.Node, int] = field(default_factory=dict)
    """How many nodes read each linear node."""

    def itself(self, node: fx.Node) -> LinearMap:
        """A node as the root of a map."""
        return identity(node, self.facts.shapes[node.name][1])

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """The images a linear node reads, each once."""
        return [n for n in node.all_input_nodes if n.op != "get_attr"]

    def apply(
        self, node: fx.Node, maps: Mapping[Any, LinearMap], *, allow_border: bool = True
    ) -> LinearMap | None:
        """The node's map, given those of its inputs."""
        facts = replace(self.facts, allow_border=allow_border)
        return RULES[node.target](node, maps, facts)

    def work(self, node: fx.Node) -> Cost:
        """What the operator costs as it stands, MACs per input pixel."""
        if node.target is aten.conv2d.default:
            weight = self.facts.constant(node.args[1])
            if weight is not None:
                return Cost(weight.numel(), 1, 2).times_area(self.area(node))
        if node.target is aten.batch_norm.default:
            return Cost(0, 0, 3)  # no target has it: it would be a factor and a constant
        return Cost(0, 0, 1)

    def area(self, node: fx.Node) -> float:
        """Output pixels per pixel of the network's input."""
        source = self.facts.shapes[input_of(self.facts.graph).name]
        return math.prod(self.facts.shapes[node.name][2:]) / math.prod(source[2:])


def survey(facts: Facts) -> Region:
    """Find the linear nodes."""
    region = Region(facts)
    output = output_of(facts.graph)
    for node in tensor_nodes(facts.graph):
        inputs = region.inputs(node)
        images = [n for n in [node, *inputs] if len(facts.shapes.get(n.name, ())) == 4]
        if node.target not in RULES or len(images) <= len(inputs):
            continue
        own = region.apply(node, {n: region.itself(n) for n in inputs})
        if own is not None:
            region.own[node] = own
    for node in region.own:
        readers = list(node.users)
        region.readers[node] = len(readers)
        if node is output or any(reader not in region.own for reader in readers):
            region.fixed.add(node)
    return region


def combinations(options: Mapping[fx.Node, list[LinearMap]]) -> list[dict[fx.Node, LinearMap]]:
    """Ways to read the inputs: every combination of two, for more all alike.

    Args:
        options: of each input, the same number of ways in the same order.
    """
    nodes = list(options)
    if len(nodes) <= 2:
        choices = list(product(*(_distinct(options[node]) for node in nodes)))
    else:
        choices = list(zip(*(options[node] for node in nodes), strict=True))
    return [dict(zip(nodes, choice, strict=True)) for choice in choices]


def _distinct(maps: list[LinearMap]) -> list[LinearMap]:
    return list({id(m): m for m in maps}.values())

"""The registry of rules and what they may ask about a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgesr.collapse.algebra import LinearMap
from edgesr.graph import constant_of

Maps = Mapping[Any, LinearMap]
"""Maps of a node's tensor inputs. Asking for a constant or a number gives None."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Facts:
    """What rules may ask about the graph they work on."""

    graph: fx.GraphModule
    shapes: Shapes
    """Of every tensor node, at one input size."""
    allow_border: bool = True
    """Whether maps that are wrong near the border are of use."""

    def size(self, image: Any) -> tuple[int, ...]:
        """Rows and columns, at that input size."""
        return self.shapes[image.name][2:]

    def constant(self, argument: Any) -> Tensor | None:
        """A constant operand in float64; None for images and numbers."""
        value = constant_of(self.graph, argument)
        return None if value is None else value.to(torch.float64)

    def per_channel(self, argument: Any, channels: int) -> Tensor | None:
        """A number, or a constant that does not vary over the image, as one value per channel.

        A constant of several channels meets an image of one as in torch: it widens the image.
        """
        if isinstance(argument, (int, float)):
            return torch.full((channels,), float(argument), dtype=torch.float64)
        value = self.constant(argument)
        if value is None or value.dim() > 4:
            return None
        batch, count, rows, columns = (1,) * (4 - value.dim()) + tuple(value.shape)
        if (batch, rows, columns) != (1, 1, 1):
            return None
        return value.flatten().expand(channels) if count == 1 else value.flatten()


Rule = Callable[[fx.Node, Maps, Facts], LinearMap | None]
RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Register the decorated rule for these operators."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return add


def arguments(node: fx.Node, *defaults: Any) -> list[Any]:
    """All positional arguments; those left out take their default."""
    return [*node.args, *defaults[len(node.args) :]]


def pair(value: Any) -> tuple[int, int]:
    """`3`, `[3]` and `[3, 3]` alike."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    rows, columns = items * 2 if len(items) == 1 else items
    return int(rows), int(columns)

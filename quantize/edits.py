"""Edits of a graph: another call in a layer, other weights of a convolution."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, fx

from edgesr.graph import add_constant, constant_of


def call_like(
    graph: fx.GraphModule, target: object, args: tuple[object, ...], like: fx.Node
) -> fx.Node:
    """Insert a call at the insertion point; it belongs to the layer that `like` belongs to."""
    node = graph.graph.call_function(target, args)  # type: ignore[arg-type]
    node.meta = {key: value for key, value in like.meta.items() if key == "nn_module_stack"}
    return node


def change(
    graph: fx.GraphModule, node: fx.Node, argument: int, how: Callable[[Tensor], Tensor]
) -> None:
    """Give a convolution other weights or another bias."""
    value = constant_of(graph, node.args[argument])
    assert value is not None
    with graph.graph.inserting_before(node):
        new = add_constant(graph, how(value.detach()).clone(), f"{node.name}_edited")
    node.update_arg(argument, new)


def over_weights(factors: Tensor, groups: int, outputs: int) -> Tensor:
    """One factor per channel that a convolution reads, laid over its weights.

    Returns:
        outputs x inputs of a group x 1 x 1.
    """
    per_output = factors.reshape(groups, -1).repeat_interleave(outputs // groups, dim=0)
    return per_output[:, :, None, None]

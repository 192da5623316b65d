"""Move a factor or a constant from behind a pixel shuffle to before it.

    op(pixel_shuffle(x, s), c)   =>  pixel_shuffle(op(x, c repeated s^2 times), s)

for `op` a sum, difference, product or quotient with a number or one value per channel (value
range, output mean, batch norm). The shuffle moves pixels and changes none, so this is exact; the
convolution before it then takes `op` in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgesr.graph import add_constant, constant_of, is_call, tidy

aten = torch.ops.aten
_AFFINE = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)


def move_before_shuffle(graph: fx.GraphModule) -> None:
    """Rewrite every such operator, in place."""
    for node in list(graph.graph.nodes):
        if is_call(node, *_AFFINE, aten.batch_norm.default) and not node.kwargs:
            _rewrite(graph, node)
    tidy(graph)


def _rewrite(graph: fx.GraphModule, node: fx.Node) -> None:
    shuffles = [n for n in node.all_input_nodes if n.op != "get_attr"]
    if len(shuffles) != 1 or not is_call(shuffles[0], aten.pixel_shuffle.default):
        return
    shuffle = shuffles[0]
    x, factor = shuffle.args
    channels = int(shuffle.meta["val"].shape[1])
    constants = [n for n in node.all_input_nodes if n is not shuffle]
    if len(shuffle.users) > 1 or not all(_spreads(graph, n, channels) for n in constants):
        return

    def before(argument: Any) -> Any:
        if argument is shuffle:
            return x
        value = constant_of(graph, argument)
        if value is None or value.numel() == 1:
            return argument
        axis = value.dim() - 3 if value.dim() >= 3 else 0
        repeated = value.repeat_interleave(int(factor) ** 2, dim=axis)  # type: ignore[arg-type]
        return add_constant(graph, repeated, f"{node.name}_before_shuffle")

    with graph.graph.inserting_before(shuffle):
        moved = graph.graph.call_function(node.target, tuple(before(a) for a in node.args))  # type: ignore[arg-type]
        moved.meta = {**x.meta, **_place(node)}  # type: ignore[union-attr]
    with graph.graph.inserting_before(node):
        again = graph.graph.call_function(shuffle.target, (moved, factor))  # type: ignore[arg-type]
        again.meta = dict(shuffle.meta)
    node.replace_all_uses_with(again)
    graph.graph.erase_node(node)


def _place(node: fx.Node) -> dict[str, Any]:
    return {key: node.meta[key] for key in ("nn_module_stack",) if key in node.meta}


def _spreads(graph: fx.GraphModule, argument: fx.Node, channels: int) -> bool:
    """Whether a constant is one value, or one per channel (batch norm's vectors included)."""
    value = constant_of(graph, argument)
    if value is None:
        return False
    shapes = {(channels,), (channels, 1, 1), (1, channels, 1, 1)}
    return value.numel() == 1 or tuple(value.shape) in shapes

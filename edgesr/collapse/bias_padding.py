"""Spell a border filled with one value per channel as arithmetic.

ECBSR pads the output of a 1x1 convolution with that convolution's bias, DBB with what its batch
norm makes of zero; both write the four sides of a padded tensor in place:

    y = pad(x, p);  y[:, :, :p] = y[:, :, -p:] = y[:, :, :, :p] = y[:, :, :, -p:] = v
    =>  y = pad(x - v, p) + v

Exact for any x. The bias then cancels before the zeros, and the usual rules see that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgesr.graph import add_constant, constant_of, is_call, tidy

aten = torch.ops.aten
_END = 2**63 - 1
_SIDES = ((3, 0), (3, -1), (2, 0), (2, -1))
"""Axis and end of the sides, in the order in which `pad` lists its amounts."""


def spell_bias_padding(graph: fx.GraphModule) -> None:
    """Rewrite every such border, in place."""
    for node in list(graph.graph.nodes):
        if is_call(node, aten.slice_scatter.default):
            _rewrite(graph, node)
    tidy(graph)


def _rewrite(graph: fx.GraphModule, last: fx.Node) -> None:
    """`last` writes the last of the four sides; walk back over the others to the padding."""
    written: dict[tuple[int, int], tuple[int, Tensor]] = {}
    node: Any = last
    while is_call(node, aten.slice_scatter.default):
        write = _write(graph, node)
        if write is None:
            return
        side, amount, value = write
        written.setdefault(side, (amount, value))
        node = node.args[0]
    if set(written) != set(_SIDES) or not is_call(node, aten.pad.default):
        return
    x, amounts, mode = list(node.args)[:3]
    value = written[_SIDES[0]][1]
    whole = all(
        amount == written[side][0] and torch.equal(written[side][1], value)
        for side, amount in zip(_SIDES, list(amounts), strict=True)
    )
    if mode != "constant" or not whole:
        return
    with graph.graph.inserting_before(last):
        constant = add_constant(graph, value, f"{last.name}_border")
        new: Any = x
        for target, other in ((aten.sub, constant), (aten.pad, amounts), (aten.add, constant)):
            if target is aten.pad:
                new = graph.graph.call_function(aten.pad.default, (new, other, "constant", None))
            else:
                new = graph.graph.call_function(target.Tensor, (new, other))
            new.meta = dict(node.meta if target is not aten.sub else x.meta)
    last.replace_all_uses_with(new)


def _write(graph: fx.GraphModule, node: fx.Node) -> tuple[tuple[int, int], int, Tensor] | None:
    """Side, number of rows or columns, and value of one such write."""
    given: list[Any] = list(node.args)
    _, source, axis, start, end, step = given + [0, None, None, 1][len(given) - 2 :]
    value = _per_channel(graph, source)
    start = 0 if start is None else start
    end = _END if end is None else end
    if value is None or step != 1 or axis not in (2, 3) or not isinstance(start, int):
        return None
    if start == 0 and isinstance(end, int) and 0 < end < _END:
        return (axis, 0), end, value
    if start < 0 and end == _END:
        return (axis, -1), -start, value
    return None


def _per_channel(graph: fx.GraphModule, source: Any) -> Tensor | None:
    """The constant behind `copy(..., expand(constant))`, as 1 x C x 1 x 1."""
    while is_call(source, aten.copy.default, aten.expand.default, aten.fill.Scalar):
        if source.target is aten.fill.Scalar:
            return torch.tensor(source.args[1]).view(1, 1, 1, 1)
        source = source.args[1 if source.target is aten.copy.default else 0]
    value = constant_of(graph, source)
    if value is None or value.dim() > 4:
        return None
    value = value.view((1,) * (4 - value.dim()) + tuple(value.shape))
    return value if value.shape[0] == value.shape[2] == value.shape[3] == 1 else None

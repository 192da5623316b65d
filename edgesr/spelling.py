"""One spelling per operator: how `torch.export`'s many forms become the canonical vocabulary.

Each rewrite takes a node, adds its canonical form before it and returns that; `SPELLINGS` says
which rewrite an operator gets. `edgesr.graph.canonicalize` applies them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

Rewrite = Callable[[fx.Graph, fx.Node], fx.Node]


def _call(graph: fx.Graph, like: fx.Node, target: Any, *args: Any) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta = dict(like.meta)
    return node


def _args(node: fx.Node) -> tuple[Any, ...]:
    """Positional arguments, whose types the operator's schema knows and torch's stubs do not."""
    return node.args


def _arguments(node: fx.Node, *defaults: Any) -> list[Any]:
    """All positional arguments; those left out take their default."""
    given = list(node.args)
    return given + list(defaults[len(given) :])


def _pair(value: Any) -> list[Any]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return items * 2 if len(items) == 1 else items


def _conv(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, w, b, stride, padding, dilation, groups = _arguments(node, 0, 0, None, 1, 0, 1, 1)
    if isinstance(padding, str):
        kernel = _args(node)[1].meta["val"].shape[2:]
        total = [d * (k - 1) for d, k in zip(_pair(dilation), kernel, strict=True)]
        if padding == "same" and any(t % 2 for t in total):
            return node
        padding = [0, 0] if padding == "valid" else [t // 2 for t in total]
    args = (x, w, b, _pair(stride), _pair(padding), _pair(dilation), groups)
    return _call(graph, node, aten.conv2d.default, *args)


def _convolution(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, w, b, stride, padding, dilation, transposed, out_padding, groups = _args(node)
    if transposed:
        args = (x, w, b, stride, padding, out_padding, groups, dilation)
        return _call(graph, node, aten.conv_transpose2d.input, *args)
    return _call(graph, node, aten.conv2d.default, x, w, b, stride, padding, dilation, groups)


def _transposed(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, w, b, stride, padding, extra, groups, dilation = _arguments(node, 0, 0, None, 1, 0, 0, 1, 1)
    args = (x, w, b, _pair(stride), _pair(padding), _pair(extra), groups, _pair(dilation))
    return _call(graph, node, aten.conv_transpose2d.input, *args)


def _clamp(low: Any, high: Any) -> Rewrite:
    def rewrite(graph: fx.Graph, node: fx.Node) -> fx.Node:
        return _call(graph, node, aten.clamp.default, _args(node)[0], low(node), high(node))

    return rewrite


def _clip(graph: fx.Graph, node: fx.Node) -> fx.Node:
    low = _args(node)[1] if len(_args(node)) > 1 else node.kwargs.get("min")
    high = _args(node)[2] if len(_args(node)) > 2 else node.kwargs.get("max")
    return _call(graph, node, aten.clamp.default, _args(node)[0], low, high)


def _functional(target: Any) -> Rewrite:
    return lambda graph, node: _call(graph, node, target, *_args(node))


def _forward(graph: fx.Graph, node: fx.Node) -> fx.Node:
    source: fx.Node = _args(node)[0]
    return source


def _pieces(graph: fx.Graph, node: fx.Node, bounds: list[tuple[int, int]], dim: int) -> fx.Node:
    """Replace the `getitem`s of a split by slices."""
    for user in list(node.users):
        start, end = bounds[int(_args(user)[1])]
        piece = _call(graph, user, aten.slice.Tensor, _args(node)[0], dim, start, end, 1)
        user.replace_all_uses_with(piece)
        graph.erase_node(user)
    return node


def _split(graph: fx.Graph, node: fx.Node) -> fx.Node:
    _, sizes, dim = _arguments(node, 0, 0, 0)
    extent = int(_args(node)[0].meta["val"].shape[dim])
    if isinstance(sizes, int):
        sizes = [min(sizes, extent - start) for start in range(0, extent, sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return _pieces(graph, node, [(s, s + n) for s, n in zip(starts, sizes, strict=True)], dim)


def _chunk(graph: fx.Graph, node: fx.Node) -> fx.Node:
    _, count, dim = _arguments(node, 0, 0, 0)
    extent = int(_args(node)[0].meta["val"].shape[dim])
    size = -(-extent // count)
    bounds = [(start, min(start + size, extent)) for start in range(0, extent, size)]
    return _pieces(graph, node, bounds, dim)


def _slice(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, dim, start, end, step = _arguments(node, 0, 0, None, None, 1)
    args = (x, dim, 0 if start is None else start, 2**63 - 1 if end is None else end, step)
    return _call(graph, node, aten.slice.Tensor, *args)


def _narrow(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, dim, start, length = _args(node)
    return _call(graph, node, aten.slice.Tensor, x, dim, start, start + length, 1)


def _cat(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return _call(graph, node, aten.cat.default, *_arguments(node, [], 0))


def _repeat(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, counts = _args(node)
    if len(counts) == 4 and all(isinstance(c, int) for c in counts):
        batch, times, rows, columns = counts
        if (batch, rows, columns) == (1, 1, 1):
            return _call(graph, node, aten.cat.default, [x] * times, 1)
    return node


def _repeat_interleave(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, times, dim = _arguments(node, 0, 0, None)
    dim = node.kwargs.get("dim", dim)
    if dim not in (1, -3):
        return node
    channels = int(x.meta["val"].shape[1])
    slices = [_call(graph, x, aten.slice.Tensor, x, 1, c, c + 1, 1) for c in range(channels)]
    parts = [piece for piece in slices for _ in range(times)]
    return _call(graph, node, aten.cat.default, parts, 1)


def _global_average(graph: fx.Graph, node: fx.Node) -> fx.Node:
    if _pair(_args(node)[1]) != [1, 1]:
        return node
    return _call(graph, node, aten.mean.dim, _args(node)[0], [2, 3], True)


def _scaled_sum(target: Any) -> Rewrite:
    def rewrite(graph: fx.Graph, node: fx.Node) -> fx.Node:
        a, b = _args(node)
        alpha = node.kwargs.get("alpha", 1)
        if alpha != 1:
            b = (
                _call(graph, node, aten.mul.Tensor, b, alpha)
                if isinstance(b, fx.Node)
                else b * alpha
            )
        if not isinstance(a, fx.Node):
            a, b = b, a
        return _call(graph, node, target, a, b)

    return rewrite


def _reversed_sub(graph: fx.Graph, node: fx.Node) -> fx.Node:
    a, b = _args(node)[:2]
    negative = _call(graph, node, aten.mul.Tensor, a, -1.0)
    return _call(graph, node, aten.add.Tensor, negative, b)


def _pad(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, sides, mode, value = _arguments(node, 0, [], "constant", None)
    return _call(graph, node, aten.pad.default, x, list(sides), mode, value)


def _constant_pad(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, sides, value = _arguments(node, 0, [], 0)
    return _call(graph, node, aten.pad.default, x, list(sides), "constant", value)


def _batch_norm(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """`_native_batch_norm_legit_no_training` returns three tensors, of which the first is read."""
    x, weight, bias, mean, var, _, eps = _args(node)
    args = (x, weight, bias, mean, var, False, 0.0, eps, False)
    new = _call(graph, node, aten.batch_norm.default, *args)
    for user in list(node.users):
        user.replace_all_uses_with(new)
        graph.erase_node(user)
    return new


SPELLINGS: dict[Any, Rewrite] = {
    aten.conv2d.default: _conv,
    aten.conv2d.padding: _conv,
    aten.convolution.default: _convolution,
    aten.conv_transpose2d.input: _transposed,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.relu_.default: _functional(aten.relu.default),
    aten.leaky_relu_.default: _functional(aten.leaky_relu.default),
    aten.sigmoid_.default: _functional(aten.sigmoid.default),
    aten.tanh_.default: _functional(aten.tanh.default),
    aten.relu6.default: _clamp(lambda n: 0.0, lambda n: 6.0),
    aten.hardtanh.default: _clamp(
        lambda n: _args(n)[1] if len(_args(n)) > 1 else -1.0,
        lambda n: _args(n)[2] if len(_args(n)) > 2 else 1.0,
    ),
    aten.clamp.default: _clip,
    aten.clip.default: _clip,
    aten.clamp_.default: _clip,
    aten.clamp_min.default: _clamp(lambda n: _args(n)[1], lambda n: None),
    aten.clamp_max.default: _clamp(lambda n: None, lambda n: _args(n)[1]),
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split,
    aten.chunk.default: _chunk,
    aten.slice.Tensor: _slice,
    aten.narrow.default: _narrow,
    aten.cat.default: _cat,
    aten.concat.default: _cat,
    aten.repeat.default: _repeat,
    aten.repeat_interleave.self_int: _repeat_interleave,
    aten.adaptive_avg_pool2d.default: _global_average,
    aten.add.Tensor: _scaled_sum(aten.add.Tensor),
    aten.add_.Tensor: _scaled_sum(aten.add.Tensor),
    aten.mul_.Tensor: _functional(aten.mul.Tensor),
    aten.sub.Tensor: _functional(aten.sub.Tensor),
    aten.rsub.Scalar: _reversed_sub,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _constant_pad,
    aten.dropout.default: _forward,
    aten.alias.default: _forward,
    aten.clone.default: _forward,
    aten.contiguous.default: _forward,
    aten.detach.default: _forward,
    aten.lift_fresh_copy.default: _forward,
}

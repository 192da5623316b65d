"""A canonical graph as JSON and tensors, and back, without trusting what is read.

    {"channels": 3, "rewrites": [...], "nodes": [
        {"name": "x", "op": "placeholder"},
        {"name": "w", "op": "get_attr", "tensor": "graph/w"},
        {"name": "conv2d", "op": "call_function", "target": "aten.conv2d.default",
         "args": [{"node": "x"}, {"node": "w"}, null, [1, 1], [1, 1], [1, 1], 1],
         "layer": "body.0"},
        {"name": "output", "op": "output", "args": [{"node": "conv2d"}]}]}

torch writes Python source from a graph's names and compiles it, so names must be identifiers;
operators must be of `VOCABULARY`: arithmetic on tensors and sizes, nothing that opens files.
"""

from __future__ import annotations

import hashlib
import keyword
import math
import operator
from typing import Any

import torch
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from edgesr.quantize.ties import REQUANTIZES
from torch import Tensor, fx, nn

from edgesr.errors import BadFileError, UnsupportedError
from edgesr.graph import add_constant, channels_of_input, constant_of, layer_of, tidy
from edgesr.models.enlarge import rectangle_to_space

aten = torch.ops.aten
Tensors = dict[str, Tensor]

_OPERATORS = (
    aten.conv2d.default, aten.conv_transpose2d.input, aten.batch_norm.default,
    aten.relu.default, aten.leaky_relu.default, aten.prelu.default, aten.clamp.default,
    aten.clamp.Tensor, aten.sigmoid.default, aten.tanh.default, aten.hardsigmoid.default,
    aten.hardswish.default, aten.silu.default, aten.gelu.default, aten.elu.default,
    aten.softplus.default, aten.exp.default, aten.log.default, aten.abs.default, aten.neg.default,
    aten.sqrt.default, aten.rsqrt.default, aten.reciprocal.default, aten.square.default,
    aten.pow.Tensor_Scalar, aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor,
    aten.maximum.default, aten.minimum.default, aten.mean.dim, aten.sum.dim_IntList,
    aten.var.correction, aten.std.correction, aten.amax.default, aten.softmax.int,
    aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default,
    aten.cat.default, aten.stack.default, aten.slice.Tensor, aten.select.int, aten.pad.default,
    aten.expand.default, aten.repeat.default, aten.reshape.default, aten.view.default,
    aten.flatten.using_ints, aten.permute.default, aten.transpose.int, aten.squeeze.dim,
    aten.unsqueeze.default, aten.roll.default, aten.matmul.default, aten.linear.default,
    aten.layer_norm.default, aten.group_norm.default, aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default, aten.channel_shuffle.default, aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec, aten.upsample_bicubic2d.vec, aten.sym_size.int,
    depth_to_space, space_to_depth, rectangle_to_space,
)  # fmt: skip
_ON_SIZES = (
    operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.getitem,
)  # fmt: skip
VOCABULARY: dict[str, Any] = {str(target): target for target in _OPERATORS} | {
    f"operator.{target.__name__}": target for target in _ON_SIZES
}
"""Every operator a stored graph may call, by name."""
_NAMES = {target: name for name, target in VOCABULARY.items()}


def to_json(graph: fx.GraphModule, prefix: str, tensors: Tensors) -> dict[str, Any]:
    """The graph as plain values; its constants are added to `tensors`, equal ones once.

    Raises:
        UnsupportedError: an operator or argument outside the vocabulary; names its layer.
    """
    known = {_digest(value): key for key, value in tensors.items()}
    nodes = []
    for node in graph.graph.nodes:
        entry: dict[str, Any] = {"name": node.name, "op": node.op}
        if node.op == "get_attr":
            value = constant_of(graph, node)
            if value is None:
                raise UnsupportedError(f"`{node.target}` is no tensor, so it cannot be stored")
            value = value.detach().cpu().contiguous()
            key = known.setdefault(_digest(value), f"{prefix}/{node.name}")
            tensors.setdefault(key, value)
            entry["tensor"] = key
        elif node.op == "call_function":
            if node.target not in _NAMES:
                raise UnsupportedError(
                    f"layer `{layer_of(node)}` ({node.name}): {node.target} cannot be stored"
                )
            entry["target"] = _NAMES[node.target]
            entry["args"] = [_encode(a) for a in node.args]
            if node.kwargs:
                entry["kwargs"] = {key: _encode(value) for key, value in node.kwargs.items()}
            if layer_of(node) != node.name:
                entry["layer"] = layer_of(node)
            if node.meta.get(REQUANTIZES):
                entry["requantizes"] = True
        elif node.op == "output":
            entry["args"] = [_encode(a) for a in node.args]
        nodes.append(entry)
    rewrites = list(graph.meta.get("rewrites", []))
    return {"channels": channels_of_input(graph), "rewrites": rewrites, "nodes": nodes}


def from_json(content: Any, tensors: Tensors) -> fx.GraphModule:
    """The graph that `to_json` described.

    Raises:
        BadFileError: not such a description. The message says which node is wrong and how.
    """
    _demand(isinstance(content, dict), "its graph is no object")
    channels, entries = content.get("channels"), content.get("nodes")
    _demand(channels in (1, 3), f"its graph takes {channels!r} channels")
    _demand(isinstance(entries, list) and len(entries) >= 2, "its graph has no nodes")
    graph = fx.GraphModule(nn.Module(), fx.Graph())
    known: dict[str, fx.Node] = {}
    for entry in entries:
        _demand(isinstance(entry, dict), "a node is no object")
        name, op = entry.get("name"), entry.get("op")
        _demand(_is_name(name) and name not in known, f"`{name}` is no name for a node")
        node = _node(graph, entry, known, tensors)
        node.name = name
        known[name] = node
        _demand((op == "output") == (len(known) == len(entries)), "its graph needs one output")
    inputs = [node for node in known.values() if node.op == "placeholder"]
    _demand(len(inputs) == 1, f"its graph has {len(inputs)} inputs")
    inputs[0].meta["val"] = torch.empty(1, channels, 8, 8, device="meta")
    rewrites = content.get("rewrites", [])
    _demand(isinstance(rewrites, list), "its rewrites are no list")
    graph.meta["rewrites"] = [str(line) for line in rewrites]
    try:
        return tidy(graph)
    except (RuntimeError, SyntaxError) as error:
        raise BadFileError(f"its graph is not sound: {error}") from error


def _node(
    graph: fx.GraphModule, entry: dict[str, Any], known: dict[str, fx.Node], tensors: Tensors
) -> fx.Node:
    name, op = entry["name"], entry.get("op")
    if op == "placeholder":
        return graph.graph.placeholder("x")
    if op == "get_attr":
        value = tensors.get(str(entry.get("tensor")))
        if value is None:
            raise BadFileError(f"`{name}` reads a missing tensor {entry.get('tensor')!r}")
        return add_constant(graph, value, name)
    args, kwargs = entry.get("args", []), entry.get("kwargs", {})
    _demand(isinstance(args, list) and isinstance(kwargs, dict), f"`{name}` has no arguments")
    values = tuple(_decode(a, known, name) for a in args)
    if op == "output":
        _demand(len(values) == 1 and isinstance(values[0], fx.Node), "its output is no tensor")
        result: fx.Node = graph.graph.output(values[0])
        return result
    _demand(op == "call_function", f"`{name}` is of unknown kind {op!r}")
    target = VOCABULARY.get(str(entry.get("target")))
    if target is None:
        raise BadFileError(
            f"`{name}` calls {entry.get('target')!r}, which this edgesr does not run from a file"
        )
    _demand(all(_is_name(key) for key in kwargs), f"`{name}` has arguments without a name")
    named = {key: _decode(value, known, name) for key, value in kwargs.items()}
    node: fx.Node = graph.graph.call_function(target, values, named)
    if isinstance(entry.get("layer"), str):
        node.meta["nn_module_stack"] = {"layer": (entry["layer"], nn.Module)}
    if entry.get("requantizes") is True:
        node.meta[REQUANTIZES] = True
    return node


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UnsupportedError(f"an argument of type {type(value).__name__} cannot be stored")


def _decode(value: Any, known: dict[str, fx.Node], reader: str) -> Any:
    if isinstance(value, list):
        return [_decode(item, known, reader) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("float") in ("inf", "-inf"):
        return float(value["float"])
    source = known.get(str(value.get("node")))
    _demand(
        source is not None,
        f"`{reader}` reads `{value.get('node')}`, which is not computed before it",
    )
    return source


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def _digest(value: Tensor) -> bytes:
    head = f"{value.dtype}{tuple(value.shape)}".encode()
    return hashlib.sha256(head + value.numpy().tobytes()).digest()


def _demand(condition: bool, reason: str) -> None:
    if not condition:
        raise BadFileError(reason)

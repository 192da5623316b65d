"""Names in a collapsed graph: layers and weights are called as in the network it came from."""

from __future__ import annotations

import re
from collections.abc import Container
from posixpath import commonpath
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgesr.collapse.algebra import LinearMap
from edgesr.graph import constant_of, is_call, layer_of

aten = torch.ops.aten


def place_of(own: Container[fx.Node], node: fx.Node, linear: LinearMap) -> dict[str, Any]:
    """The module path of a folded region, as node meta.

    It is what the paths of the convolutions folded have in common (`body.3` for `body.3.square`
    and `body.3.point`), else that of the last one; nothing where none is folded.

    Args:
        own: all linear nodes.
    """
    convs: list[fx.Node] = []
    waiting, seen = [node], {*linear.terms}
    while waiting:
        inner = waiting.pop(0)
        if inner in seen or inner not in own:
            continue
        seen.add(inner)
        waiting += inner.all_input_nodes
        if is_call(inner, aten.conv2d.default) and inner.meta.get("nn_module_stack"):
            convs.append(inner)
    if not convs:
        return {}
    shared = commonpath([layer_of(conv).replace(".", "/") for conv in convs])
    path = shared.replace("/", ".") or layer_of(convs[0])
    stack = {
        key: entry
        for key, entry in convs[0].meta["nn_module_stack"].items()
        if not entry[0] or f"{path}.".startswith(f"{entry[0]}.")
    }
    return {"nn_module_stack": stack}


def add_parameter(graph: fx.GraphModule, value: Tensor, path: str) -> fx.Node:
    """A new parameter at a module path (`body.3.weight`) and the node that reads it."""
    *folders, last = path.split(".")
    owner: nn.Module = graph
    for folder in folders:
        if not isinstance(getattr(owner, folder, None), nn.Module):
            owner.add_module(folder, nn.Module())
        owner = owner.get_submodule(folder)
    unique, number = last, 1
    while hasattr(owner, unique):
        number += 1
        unique = f"{last}_{number}"
    value = value.detach().clone(memory_format=torch.contiguous_format)
    owner.register_parameter(unique, nn.Parameter(value, requires_grad=False))
    return graph.graph.get_attr(".".join([*folders, unique]))


def name_weights(graph: fx.GraphModule) -> None:
    """Kernels that tracing composed (from training branches) become parameters of their layer."""
    for node in graph.graph.nodes:
        if not is_call(node, aten.conv2d.default):
            continue
        for position, name in ((1, "weight"), (2, "bias")):
            constant: Any = node.args[position]
            value = constant_of(graph, constant)
            if value is not None and str(constant.target).startswith("const_"):
                with graph.graph.inserting_before(node):
                    named = add_parameter(graph, value, f"{layer_of(node)}.{name}")
                node.update_arg(position, named)


def shorten_names(graph: fx.GraphModule) -> None:
    """`weight_2` is `weight` again where the first one is gone."""
    for node in graph.graph.find_nodes(op="get_attr"):
        folder, _, name = str(node.target).rpartition(".")
        owner, short = graph.get_submodule(folder), re.sub(r"_\d+$", "", name)
        if short != name and not hasattr(owner, short) and name in owner._parameters:
            owner.register_parameter(short, owner._parameters.pop(name))
            node.target = f"{folder}.{short}" if folder else short
    graph.recompile()

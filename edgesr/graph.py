"""The intermediate form: a `torch.fx` graph of ATen operators, in one canonical spelling.

`trace` runs `torch.export` and tidies what comes out, so that every later step (collapse, lower,
quantize, writers) reads one vocabulary. The graph is an `nn.Module` that runs at any image size: a
rewrite is checked by running the graph before and after it.

A canonical graph has one placeholder `x` (1 x C x H x W), one output, and

- constants as `get_attr` nodes: whatever does not depend on `x` is computed once, here;
- `conv2d.default` with all seven arguments;
- `clamp.default` for relu6, hardtanh, clamp_min and clamp_max;
- `slice.Tensor` for split, chunk and narrow; `cat.default` of inputs for repeat and
  repeat_interleave along channels;
- `mean.dim` for global average pooling; no dropout, no aliases, no in-place operators.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any

import torch
from torch import Tensor, fx

from edgesr.errors import UnsupportedError
from edgesr.network import Network
from edgesr.spelling import SPELLINGS

aten = torch.ops.aten

LARGEST_SIDE = 16384
_SMALLEST_MULTIPLE = 32


def trace(network: Network) -> fx.GraphModule:
    """The network as a canonical graph that accepts any height and width.

    Raises:
        UnsupportedError: the module cannot be exported (data-dependent control flow, sizes it
            does not accept). The message carries torch's reason.
    """
    multiple = network.pad_multiple
    smallest = -(-_SMALLEST_MULTIPLE // multiple)
    example = torch.zeros(1, network.channels, 2 * smallest * multiple, 3 * smallest * multiple)
    parameter = next(network.module.parameters(), None)
    if parameter is not None:
        example = example.to(parameter.dtype)
    sides = {
        axis: torch.export.Dim(name, min=smallest, max=LARGEST_SIDE // multiple)
        for axis, name in ((2, "rows"), (3, "columns"))
    }
    dynamic = {axis: multiple * side if multiple > 1 else side for axis, side in sides.items()}
    module = network.module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, (example,), dynamic_shapes=(dynamic,))
            if any(_mutates(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise UnsupportedError(
                f"`{network.name}` cannot be traced by torch.export: {reason}. The forward must "
                "not branch on pixel values or on one fixed image size"
            ) from error
        graph = program.module(check_guards=False)
    return canonicalize(graph)


def canonicalize(graph: fx.GraphModule) -> fx.GraphModule:
    """Bring an exported graph into the canonical spelling, in place.

    Raises:
        UnsupportedError: more than one input or output.
    """
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    outputs = _output(graph).args[0]
    if isinstance(outputs, fx.Node):
        outputs = (outputs,)
    if len(inputs) != 1 or len(outputs) != 1:  # type: ignore[arg-type]
        raise UnsupportedError(
            f"the network has {len(inputs)} inputs and {len(outputs)} outputs; "  # type: ignore[arg-type]
            "edgesr needs one image in and one image out"
        )
    _output(graph).args = (outputs[0],)  # type: ignore[index]
    graph.graph.set_codegen(fx.graph.CodeGen())
    # torch.export's check of input sizes: it would refuse images smaller than the traced range.
    graph._forward_pre_hooks.clear()
    _drop_guards(graph)
    for node in list(graph.graph.nodes):
        rewrite = SPELLINGS.get(node.target) if node.op == "call_function" else None
        if rewrite is not None:
            with graph.graph.inserting_before(node):
                new = rewrite(graph.graph, node)
            if new is not node:
                node.replace_all_uses_with(new)
                graph.graph.erase_node(node)
    _name_input(graph)
    fold_constants(graph)
    return tidy(graph)


def fold_constants(graph: fx.GraphModule) -> None:
    """Compute every node that does not depend on the input and keep its value as a buffer."""
    known: dict[fx.Node, Any] = {}
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            known[node] = _attribute(graph, str(node.target))
        elif node.op == "call_function" and all(n in known for n in node.all_input_nodes):
            known[node] = _evaluate(node, known)
            if isinstance(known[node], Tensor):
                with graph.graph.inserting_before(node):
                    constant = add_constant(graph, known[node].detach().clone(), node.name)
                known[constant] = known[node]
                node.replace_all_uses_with(constant)


def add_constant(graph: fx.GraphModule, value: Tensor, name: str) -> fx.Node:
    """A new buffer and the `get_attr` node that reads it, at the current insertion point."""
    base = "const_" + name.replace(".", "_")
    unique, number = base, 0
    while hasattr(graph, unique):
        number += 1
        unique = f"{base}_{number}"
    graph.register_buffer(unique, value)
    return graph.graph.get_attr(unique)


def constant_of(graph: fx.GraphModule, node: Any) -> Tensor | None:
    """The tensor behind a `get_attr` node; None for anything else (inputs, scalars, None)."""
    if isinstance(node, fx.Node) and node.op == "get_attr":
        value = _attribute(graph, str(node.target))
        return value if isinstance(value, Tensor) else None
    return None


def tidy(graph: fx.GraphModule) -> fx.GraphModule:
    """Drop what nothing reads, check the graph and make it callable. Returns the same object."""
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name in [n for n, _ in graph.named_buffers() if n not in used]:
        _delete(graph, name)
    for name in [n for n, _ in graph.named_parameters() if n not in used]:
        _delete(graph, name)
    for parameter in graph.parameters():
        parameter.requires_grad_(False)
    graph.graph.lint()
    graph.recompile()
    return graph


def input_of(graph: fx.GraphModule) -> fx.Node:
    """The placeholder."""
    node: fx.Node = next(node for node in graph.graph.nodes if node.op == "placeholder")
    return node


def output_of(graph: fx.GraphModule) -> fx.Node:
    """The node whose value the graph returns."""
    result = _output(graph).args[0]
    assert isinstance(result, fx.Node)
    return result


def is_call(node: Any, *targets: Any) -> bool:
    """Whether `node` calls one of `targets` (`aten.relu.default`, ...)."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


def layer_of(node: fx.Node) -> str:
    """The module path a node came from (`body.3.act`), for error messages; else its own name."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values() if path]
    return paths[-1] if paths else node.name


def tensor_nodes(graph: fx.GraphModule) -> list[fx.Node]:
    """Placeholder and calls that carry image tensors, in order: no constants, no sizes."""
    return [
        node
        for node in graph.graph.nodes
        if node.op == "placeholder" or (node.op == "call_function" and node.target not in _SIZES)
    ]


ANY_SIDE = 192
"""Any size will do to learn numbers of channels; this one divides by every `pad_multiple`."""


def shapes(graph: fx.GraphModule, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor node at this input size, by node name. Nothing is computed."""
    found: dict[str, tuple[int, ...]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor):
                found[n.name] = tuple(int(side) for side in result.shape)
                result = result.to("meta")  # constants too: only shapes are computed
            return result

    channels = channels_of_input(graph)
    weights = (*graph.parameters(), *graph.buffers())
    dtype = next((t.dtype for t in weights if t.is_floating_point()), torch.float32)
    with torch.no_grad():
        Recorder(graph).run(torch.empty(1, channels, height, width, dtype=dtype, device="meta"))
    return found


def channels_of_input(graph: fx.GraphModule) -> int:
    """Channels the placeholder carries, as recorded when the graph was traced."""
    value = input_of(graph).meta["val"]
    return int(value.shape[1])


def run_recording(graph: fx.GraphModule, x: Tensor) -> dict[str, Tensor]:
    """Run the graph and return every tensor node's value, by node name."""
    values: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor) and n.op in ("placeholder", "call_function"):
                values[n.name] = result
            return result

    with torch.no_grad():
        Recorder(graph).run(x)
    return values


_SIZES = {
    aten.sym_size.int, operator.add, operator.sub, operator.mul, operator.floordiv,
    operator.truediv, operator.getitem,
}  # fmt: skip


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


def _output(graph: fx.GraphModule) -> fx.Node:
    node: fx.Node = next(node for node in reversed(graph.graph.nodes) if node.op == "output")
    return node


def _drop_guards(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        asserts = "assert" in str(node.target) or str(node.target) == "_guards_fn"
        if node.op in ("call_module", "call_function") and asserts:
            graph.graph.erase_node(node)


def _name_input(graph: fx.GraphModule) -> None:
    node = input_of(graph)
    if node.name != "x":
        node.target, node.name = "x", "x"


def _attribute(graph: fx.GraphModule, path: str) -> Any:
    value: Any = graph
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _delete(graph: fx.GraphModule, path: str) -> None:
    owner, _, name = path.rpartition(".")
    delattr(graph.get_submodule(owner), name)


def _evaluate(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: known[n])
    with torch.no_grad():
        return node.target(*args, **kwargs)  # type: ignore[operator]

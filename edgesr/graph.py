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
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from edgesr.errors import UnsupportedError
from edgesr.network import Network

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
    _drop_guards(graph)
    for node in list(graph.graph.nodes):
        rewrite = _SPELLINGS.get(node.target) if node.op == "call_function" else None
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
    return next(node for node in graph.graph.nodes if node.op == "placeholder")


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


# --- spelling -------------------------------------------------------------------------------

Rewrite = Callable[[fx.Graph, fx.Node], fx.Node]


def _call(graph: fx.Graph, like: fx.Node, target: Any, *args: Any) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta = dict(like.meta)
    return node


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
        kernel = node.args[1].meta["val"].shape[2:]  # type: ignore[union-attr]
        total = [d * (k - 1) for d, k in zip(_pair(dilation), kernel, strict=True)]
        if padding == "same" and any(t % 2 for t in total):
            return node
        padding = [0, 0] if padding == "valid" else [t // 2 for t in total]
    args = (x, w, b, _pair(stride), _pair(padding), _pair(dilation), groups)
    return _call(graph, node, aten.conv2d.default, *args)


def _convolution(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, w, b, stride, padding, dilation, transposed, out_padding, groups = node.args
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
        return _call(graph, node, aten.clamp.default, node.args[0], low(node), high(node))

    return rewrite


def _clip(graph: fx.Graph, node: fx.Node) -> fx.Node:
    low = node.args[1] if len(node.args) > 1 else node.kwargs.get("min")
    high = node.args[2] if len(node.args) > 2 else node.kwargs.get("max")
    return _call(graph, node, aten.clamp.default, node.args[0], low, high)


def _functional(target: Any) -> Rewrite:
    return lambda graph, node: _call(graph, node, target, *node.args)


def _forward(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return node.args[0]  # type: ignore[return-value]


def _pieces(graph: fx.Graph, node: fx.Node, bounds: list[tuple[int, int]], dim: int) -> fx.Node:
    """Replace the `getitem`s of a split by slices."""
    for user in list(node.users):
        start, end = bounds[int(user.args[1])]  # type: ignore[arg-type]
        piece = _call(graph, user, aten.slice.Tensor, node.args[0], dim, start, end, 1)
        user.replace_all_uses_with(piece)
        graph.erase_node(user)
    return node


def _split(graph: fx.Graph, node: fx.Node) -> fx.Node:
    _, sizes, dim = _arguments(node, 0, 0, 0)
    extent = int(node.args[0].meta["val"].shape[dim])  # type: ignore[union-attr]
    if isinstance(sizes, int):
        sizes = [min(sizes, extent - start) for start in range(0, extent, sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return _pieces(graph, node, [(s, s + n) for s, n in zip(starts, sizes, strict=True)], dim)


def _chunk(graph: fx.Graph, node: fx.Node) -> fx.Node:
    _, count, dim = _arguments(node, 0, 0, 0)
    extent = int(node.args[0].meta["val"].shape[dim])  # type: ignore[union-attr]
    size = -(-extent // count)
    bounds = [(start, min(start + size, extent)) for start in range(0, extent, size)]
    return _pieces(graph, node, bounds, dim)


def _slice(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, dim, start, end, step = _arguments(node, 0, 0, None, None, 1)
    args = (x, dim, 0 if start is None else start, 2**63 - 1 if end is None else end, step)
    return _call(graph, node, aten.slice.Tensor, *args)


def _narrow(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, dim, start, length = node.args
    return _call(graph, node, aten.slice.Tensor, x, dim, start, start + length, 1)  # type: ignore[operator]


def _cat(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return _call(graph, node, aten.cat.default, *_arguments(node, [], 0))


def _repeat(graph: fx.Graph, node: fx.Node) -> fx.Node:
    x, counts = node.args
    if len(counts) == 4 and all(isinstance(c, int) for c in counts):  # type: ignore[arg-type]
        batch, times, rows, columns = counts  # type: ignore[misc]
        if (batch, rows, columns) == (1, 1, 1):
            return _call(graph, node, aten.cat.default, [x] * times, 1)  # type: ignore[operator]
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
    if _pair(node.args[1]) != [1, 1]:
        return node
    return _call(graph, node, aten.mean.dim, node.args[0], [2, 3], True)


def _scaled_sum(target: Any) -> Rewrite:
    def rewrite(graph: fx.Graph, node: fx.Node) -> fx.Node:
        a, b = node.args
        alpha = node.kwargs.get("alpha", 1)
        if alpha != 1:
            b = (
                _call(graph, node, aten.mul.Tensor, b, alpha)
                if isinstance(b, fx.Node)
                else b * alpha
            )  # type: ignore[operator]
        if not isinstance(a, fx.Node):
            a, b = b, a
        return _call(graph, node, target, a, b)

    return rewrite


def _reversed_sub(graph: fx.Graph, node: fx.Node) -> fx.Node:
    a, b = node.args[:2]
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
    x, weight, bias, mean, var, _, eps = node.args
    args = (x, weight, bias, mean, var, False, 0.0, eps, False)
    new = _call(graph, node, aten.batch_norm.default, *args)
    for user in list(node.users):
        user.replace_all_uses_with(new)
        graph.erase_node(user)
    return new


_SPELLINGS: dict[Any, Rewrite] = {
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
        lambda n: n.args[1] if len(n.args) > 1 else -1.0,
        lambda n: n.args[2] if len(n.args) > 2 else 1.0,
    ),
    aten.clamp.default: _clip,
    aten.clip.default: _clip,
    aten.clamp_.default: _clip,
    aten.clamp_min.default: _clamp(lambda n: n.args[1], lambda n: None),
    aten.clamp_max.default: _clamp(lambda n: None, lambda n: n.args[1]),
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

_SIZES = {
    aten.sym_size.int, operator.add, operator.sub, operator.mul, operator.floordiv,
    operator.truediv, operator.getitem,
}  # fmt: skip


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


def _output(graph: fx.GraphModule) -> fx.Node:
    return next(node for node in reversed(graph.graph.nodes) if node.op == "output")


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

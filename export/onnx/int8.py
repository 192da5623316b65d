"""int8 ONNX: QuantizeLinear and DequantizeLinear around float operators, written by hand.

Activations are uint8 (code + 128), weights int8 per channel, biases int32: the form ONNX Runtime
runs with integer kernels (u8s8), and that OpenVINO, QNN and RKNN import. Operators that only move
values work on the uint8 codes, without Q and DQ around them: ONNX Runtime would compute them in
float. ReLUs lie between their producer and its Q, where runtimes fuse them; clips at the limits of
the codes are left out, because Q saturates there.

On x86 without VNNI, ONNX Runtime adds pairs of products in 16 bits and saturates, unless the
session option `session.x64quantprecision` is 1, as `edgesr.runtime.ort` sets it there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from edgesr.export.onnx.builder import OFFSET, TYPES, Builder, Emit
from edgesr.export.onnx.whole import emit_bilinear, emit_mean
from edgesr.export.writers import Shape
from edgesr.quantize import QuantizedGraph
from edgesr.quantize.exact import TABLE_CLEARANCE
from edgesr.quantize.integer import check, clip_codes
from edgesr.quantize.scheme import HIGHEST, LOWEST
from torch import fx

from edgesr.errors import UnsupportedError, UsageError
from edgesr.graph import constant_of, is_call, layer_of, tensor_nodes
from edgesr.models.enlarge import rectangle_to_space

aten = torch.ops.aten


def to_qdq(quantized: QuantizedGraph, shape: Shape, *, io: str = "uint8") -> onnx.ModelProto:
    """The quantized graph as a model with input `x` and output `y`.

    Raises:
        UnsupportedError: an operator has no int8 form here; names it and its layer.
        UsageError: an element type no model has.
    """
    if io not in TYPES:
        raise UsageError(f"no io type `{io}`; choose {', '.join(TYPES)}")
    check(quantized.graph)
    for node in tensor_nodes(quantized.graph):
        if node.op == "call_function" and node.target not in OPERATORS:
            raise UnsupportedError(
                f"layer `{layer_of(node)}` ({node.name}): {node.target} has no int8 form in ONNX"
            )
    return Builder(quantized).model(OPERATORS, shape, io)


# --- operators ------------------------------------------------------------------------------


def _arguments(node: fx.Node) -> list[Any]:
    return list(node.args)


def _conv(b: Builder, node: fx.Node) -> None:
    x, weight, offset, stride, padding, dilation, groups = _arguments(node)
    if b.is_float(node):
        inputs = [b.real(x), *_floats(b, node, weight, offset)]
    else:
        inputs = [b.real(x), *_integers(b, node, x)]
    kernel = constant_of(b.graph, weight)
    assert kernel is not None
    result = b.emit(
        "Conv",
        inputs,
        f"{node.name}.op",
        kernel_shape=list(kernel.shape[2:]),
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        group=groups,
    )
    b.finish(node, result)


def _floats(b: Builder, node: fx.Node, weight: Any, bias: Any) -> list[str]:
    """Weights and bias of a convolution in a float island."""
    values = [(f"{node.name}.weight", constant_of(b.graph, weight))]
    values.append((f"{node.name}.bias", constant_of(b.graph, bias)))
    return [b.constant(name, value.numpy()) for name, value in values if value is not None]


def _integers(b: Builder, node: fx.Node, x: fx.Node) -> list[str]:
    """Weights and bias of a convolution, as codes and what dequantizes them."""
    weights = b.quantized.weights[node.name]
    scale, step = weights.scale.numpy(), np.float32(b.params(x).scale)
    kernel = [
        b.constant(f"{node.name}.weight", weights.weight.numpy()),
        b.constant(f"{node.name}.weight_scale", scale),
        b.constant(f"{node.name}.weight_zero", np.zeros(len(scale), np.int8)),
    ]
    if weights.bias.dtype == torch.int64:  # ONNX dequantizes int32 at most
        real = (weights.bias.double() * (weights.scale.double() * float(step))).float()
        return [
            b.emit("DequantizeLinear", kernel, f"{node.name}.weight_real", axis=0),
            b.constant(f"{node.name}.bias", real.numpy()),
        ]
    bias = [
        b.constant(f"{node.name}.bias", weights.bias.numpy()),
        b.constant(f"{node.name}.bias_scale", scale * step),
        b.constant(f"{node.name}.bias_zero", np.zeros(len(scale), np.int32)),
    ]
    return [
        b.emit("DequantizeLinear", kernel, f"{node.name}.weight_real", axis=0),
        b.emit("DequantizeLinear", bias, f"{node.name}.bias_real", axis=0),
    ]


def _float(kind: str, *names: str) -> Emit:
    """DQ, operator, Q. The arguments after the tensors become the attributes called `names`."""

    def emit(b: Builder, node: fx.Node) -> None:
        tensors = [a for a in node.args if isinstance(a, fx.Node)]
        attributes = dict(zip(names, node.args[len(tensors) :], strict=False))
        inputs = [b.real(x) for x in tensors]
        b.finish(node, b.emit(kind, inputs, f"{node.name}.op", **attributes))

    return emit


def _clamp(b: Builder, node: fx.Node) -> None:
    x = _arguments(node)[0]
    if b.is_float(node):
        limits = zip(("low", "high"), _arguments(node)[1:], strict=False)
        ends = [
            "" if v is None else b.constant(f"{node.name}.{n}", np.float32(v)) for n, v in limits
        ]
        b.quantize(node, b.emit("Clip", [b.real(x), *ends], f"{node.name}.op"))
        return
    low, high = clip_codes(node, b.params(node))
    if (low, high) == b.params(node).codes == (LOWEST, HIGHEST):
        b.set_codes(node, b.moved(node, x))
        return
    scale, zero = b.params(node).scale, b.params(node).zero_point
    bounds = [
        b.constant(f"{node.name}.low", np.float32(scale * (low - zero))),
        b.constant(f"{node.name}.high", np.float32(scale * (high - zero))),
    ]
    b.quantize(node, b.emit("Clip", [b.real(x), *bounds], f"{node.name}.op"))


def _on_codes(kind: str, attributes: Callable[..., dict[str, Any]]) -> Emit:
    """An operator that moves values, on the codes themselves; in an island on floats."""

    def emit(b: Builder, node: fx.Node) -> None:
        x, *rest = _arguments(node)
        inputs = [b.moved(node, part) for part in (x if isinstance(x, (list, tuple)) else [x])]
        b.set_moved(node, kind, inputs, **attributes(*rest))

    return emit


def _slice(b: Builder, node: fx.Node) -> None:
    x, dim, start, end, step = _arguments(node)
    inputs = [
        b.constant(f"{node.name}.{name}", np.array([value], np.int64))
        for name, value in (("start", start), ("end", end), ("axis", dim), ("step", step))
    ]
    b.set_moved(node, "Slice", [b.moved(node, x), *inputs])


def _pool(stride: Any, padding: Any, kernel: Any) -> dict[str, Any]:
    return {"kernel_shape": kernel, "strides": stride or kernel, "pads": [*padding, *padding]}


def _max_pool(kernel: Any, stride: Any = None, *rest: Any) -> dict[str, Any]:
    defaults: list[Any] = [(0, 0), (1, 1), False]
    padding, dilation, ceil = [*rest, *defaults[len(rest) :]]
    return {**_pool(stride, padding, kernel), "dilations": dilation, "ceil_mode": int(ceil)}


def _has_codes(b: Builder, node: fx.Node) -> bool:
    """Whether this operator works on 8-bit codes: not in a float island, not on 16 bits."""
    return not b.is_float(node) and b.params(node).bits == 8


def _mean(b: Builder, node: fx.Node) -> None:
    x, axes, *rest = _arguments(node)
    if not _has_codes(b, node):
        inputs = [b.real(x), b.constant(f"{node.name}.axes", np.array(axes, np.int64))]
        keepdims = int(bool(rest and rest[0]))
        b.finish(node, b.emit("ReduceMean", inputs, f"{node.name}.op", keepdims=keepdims))
        return
    source, output = b.params(x), b.params(node)
    ratio = float(np.float32(source.scale) / np.float32(output.scale))
    zero_point, keep = source.zero_point + OFFSET, bool(rest and rest[0])
    axes = [axis % 4 for axis in axes]
    value = emit_mean(b, node.name, b.codes(x), axes, zero_point, ratio, keep=keep)
    grid = [
        b.constant("mean.unit", np.float32(1)),
        b.constant(f"{node.name}.zero_point", np.uint8(output.zero_point + OFFSET)),
    ]
    b.set_codes(node, b.emit("QuantizeLinear", [value, *grid], node.name))


def _pad(b: Builder, node: fx.Node) -> None:
    x, sides, mode, value = _arguments(node)
    left, right, top, bottom = [*sides, 0, 0][:4]
    borders = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    inputs = [b.moved(node, x), b.constant(f"{node.name}.sides", borders)]
    if mode == "constant" and (b.is_float(node) or b.params(node).bits == 16):
        inputs.append(b.constant(f"{node.name}.fill", np.float32(value or 0.0)))
    elif mode == "constant":
        fill = b.params(node).code_of(float(value or 0.0)) + OFFSET
        inputs.append(b.constant(f"{node.name}.fill", np.uint8(fill)))
    name = {"replicate": "edge"}.get(mode, mode)
    b.set_moved(node, "Pad", inputs, mode=name)


def _root(b: Builder, node: fx.Node) -> None:
    """Rounded down as in LiteRT: Q rounds to nearest, so half a code less goes in."""
    value = b.emit("Sqrt", [b.real(_arguments(node)[0])], f"{node.name}.root")
    if _has_codes(b, node):
        less = np.float32(b.params(node).scale * (0.5 - TABLE_CLEARANCE / 4))
        half = b.constant(f"{node.name}.half", less)
        value = b.emit("Sub", [value, half], f"{node.name}.op")
    b.finish(node, value)


def _resize(b: Builder, node: fx.Node) -> None:
    linear = is_call(node, aten.upsample_bilinear2d.vec)
    if linear and _has_codes(b, node):
        _bilinear(b, node)
        return
    x, size, *rest = _arguments(node)
    aligned, factors = rest if linear else (False, rest[0])
    source = b.real(x) if linear else b.moved(node, x)
    if size is None:
        scales = np.array([1, 1, *factors], np.float32)
        inputs = [source, "", b.constant(f"{node.name}.factors", scales)]
    else:
        sides = [_extent(b, side, f"{node.name}.size{i}") for i, side in enumerate(size)]
        leading = b.emit("Shape", [source], f"{node.name}.leading", start=0, end=2)
        inputs = [source, "", "", b.emit("Concat", [leading, *sides], f"{node.name}.size", axis=0)]
    if not linear:
        attributes = {"mode": "nearest", "nearest_mode": "floor"}
        attributes |= {"coordinate_transformation_mode": "asymmetric"}
        b.set_moved(node, "Resize", inputs, **attributes)
        return
    corners = "align_corners" if aligned else "pytorch_half_pixel"
    attributes = {"mode": "linear", "coordinate_transformation_mode": corners}
    b.finish(node, b.emit("Resize", inputs, f"{node.name}.op", **attributes))


def _bilinear(b: Builder, node: fx.Node) -> None:
    x, size, aligned, factors = _arguments(node)
    if size is not None:
        rows, columns = (_extent(b, s, f"{node.name}.size{i}") for i, s in enumerate(size))
    else:
        rows, columns = (
            _scaled(b, node, x, axis, f) for axis, f in zip((2, 3), factors, strict=True)
        )
    resized = emit_bilinear(b, node.name, b.codes(x), (rows, columns), aligned=aligned)
    b.set_codes(node, resized)


def _scaled(b: Builder, node: fx.Node, x: Any, axis: int, factor: float) -> str:
    """The side of `x` times a factor, rounded down."""
    name = f"{node.name}.side{axis}"
    side = b.emit("Shape", [b.codes(x)], name, start=axis, end=axis + 1)
    number = b.emit("Cast", [side], f"{name}.float", to=onnx.TensorProto.FLOAT)
    scaled = b.emit("Mul", [number, b.constant(f"{name}.by", np.float32(factor))], f"{name}.times")
    return b.emit("Cast", [scaled], f"{name}.size", to=onnx.TensorProto.INT64)


_ARITHMETIC = {
    operator.add: "Add",
    operator.sub: "Sub",
    operator.mul: "Mul",
    operator.floordiv: "Div",
}


def _extent(b: Builder, side: Any, name: str) -> str:
    """A size as a tensor of one int64: a number, the side of a tensor, or a sum of those."""
    if isinstance(side, int):
        return b.constant(name, np.array([side], np.int64))
    if is_call(side, aten.sym_size.int):
        x, axis = side.args
        return b.emit("Shape", [b.any_of(x)], name, start=axis, end=axis + 1)
    if not is_call(side, *_ARITHMETIC):
        raise UnsupportedError(f"the size {side} of a resize has no ONNX form")
    parts = [_extent(b, part, f"{name}.{i}") for i, part in enumerate(side.args)]
    return b.emit(_ARITHMETIC[side.target], parts, name)


def _depth_to_space(mode: str) -> Emit:
    return _on_codes("DepthToSpace", lambda block: {"blocksize": block, "mode": mode})


def _rectangle_to_space(b: Builder, node: fx.Node) -> None:
    """DepthToSpace has square blocks: a transpose between two reshapes, of any image size."""
    x, rows, columns = _arguments(node)
    source, name = b.moved(node, x), node.name

    def sizes(first: str, *parts: int) -> str:
        return b.constant(f"{name}.{first}", np.array(parts, np.int64))

    sides = b.emit("Shape", [source], f"{name}.sides", start=2)
    split = b.emit("Concat", [sizes("block", rows, columns, -1), sides], f"{name}.split", axis=0)
    blocks = b.emit("Reshape", [source, split], f"{name}.blocks")
    pixels = b.emit("Transpose", [blocks], f"{name}.pixels", perm=[2, 3, 0, 4, 1])
    larger = b.emit("Mul", [sides, sizes("by", rows, columns)], f"{name}.larger")
    whole = b.emit("Concat", [sizes("one", 1, -1), larger], f"{name}.whole", axis=0)
    b.set_moved(node, "Reshape", [pixels, whole])


OPERATORS: dict[Any, Emit] = {
    aten.conv2d.default: _conv,
    aten.add.Tensor: _float("Add"),
    aten.sub.Tensor: _float("Sub"),
    aten.mul.Tensor: _float("Mul"),
    aten.maximum.default: _float("Max"),
    aten.minimum.default: _float("Min"),
    aten.relu.default: _float("Relu"),
    aten.clamp.default: _clamp,
    aten.leaky_relu.default: _float("LeakyRelu", "alpha"),
    aten.sigmoid.default: _float("Sigmoid"),
    aten.tanh.default: _float("Tanh"),
    aten.sqrt.default: _root,
    aten.mean.dim: _mean,
    aten.max_pool2d.default: _on_codes("MaxPool", _max_pool),
    aten.upsample_nearest2d.vec: _resize,
    aten.upsample_bilinear2d.vec: _resize,
    aten.cat.default: _on_codes("Concat", lambda dim: {"axis": dim}),
    aten.slice.Tensor: _slice,
    aten.pad.default: _pad,
    aten.pixel_shuffle.default: _depth_to_space("CRD"),
    depth_to_space: _depth_to_space("DCR"),
    rectangle_to_space: _rectangle_to_space,
    space_to_depth: _on_codes("SpaceToDepth", lambda block: {"blocksize": block}),
}

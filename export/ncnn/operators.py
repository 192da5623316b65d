"""One function per ATen operator: the ncnn layer that computes the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from edgesr.export.lower.editor import arguments
from edgesr.export.lower.merge import bounds
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from edgesr.export.ncnn.assembly import Array, Assembly, emits, unsupported
from torch import fx

from edgesr.graph import LARGEST_SIDE, aten, is_call
from edgesr.models.enlarge import rectangle_to_space
from edgesr.runtime.ncnn_param import TO_THE_END, Value

LARGEST = 3.402823466e38
"""What ncnn takes for a bound that is none."""

_TURNED = "Deconvolution"
_FIXED = "how it depends on the image's size cannot be written; give --shape HEIGHTxWIDTH"


# --- convolutions ---------------------------------------------------------------------------


@emits(aten.conv2d.default)
def convolution(assembly: Assembly, node: fx.Node) -> None:
    x, weight, bias, stride, padding, dilation, groups = arguments(node)
    kernel = _weights(assembly, node, weight)
    parameters: dict[int, Value] = {14: padding[0], 4: padding[1]}
    _convolution(assembly, node, x, kernel, bias, parameters, (stride, dilation, groups))


@emits(aten.conv_transpose2d.input)
def deconvolution(assembly: Assembly, node: fx.Node) -> None:
    """torch keeps inputs before outputs, ncnn outputs before inputs, group by group."""
    x, weight, bias, stride, padding, extra, groups, dilation = arguments(node)
    kernel = _weights(assembly, node, weight)
    inputs, outputs, *sides = kernel.shape
    grouped = kernel.reshape(groups, inputs // groups, outputs, *sides)
    turned = np.ascontiguousarray(grouped.transpose(0, 2, 1, 3, 4))
    kernel = turned.reshape(groups * outputs, inputs // groups, *sides)
    parameters: dict[int, Value] = {14: padding[0], 4: padding[1], 19: extra[0], 18: extra[1]}
    steps = stride, dilation, groups
    _convolution(assembly, node, x, kernel, bias, parameters, steps, _TURNED)


def _convolution(
    assembly: Assembly,
    node: fx.Node,
    x: Any,
    kernel: Array,
    bias: Any,
    parameters: dict[int, Value],
    steps: tuple[list[int], list[int], int],
    kind: str = "Convolution",
) -> None:
    stride, dilation, groups = steps
    outputs, _, rows, columns = kernel.shape
    offset = assembly.constant(bias)
    parameters |= {
        0: outputs, 1: columns, 11: rows, 2: dilation[1], 12: dilation[0], 3: stride[1],
        13: stride[0], 15: parameters[4], 16: parameters[14], 5: int(offset is not None),
        6: int(kernel.size), **_activation(assembly, node),
    }  # fmt: skip
    if groups > 1:
        kind, parameters[7] = f"{kind}DepthWise", groups
    assembly.emit(node, kind, (assembly.read(x),), parameters, tagged=kernel, plain=offset)


def _weights(assembly: Assembly, node: fx.Node, weight: Any) -> Array:
    kernel = assembly.constant(weight)
    if kernel is None:
        raise unsupported(node, "its weights are computed from the image")
    return kernel


# --- activations ----------------------------------------------------------------------------


def fusible(graph: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Convolutions whose only reader is an activation that ncnn computes in the same layer."""
    found = {}
    for node in graph.graph.nodes:
        carries = is_call(node, aten.conv2d.default, aten.conv_transpose2d.input)
        readers = list(node.users)
        if carries and len(readers) == 1 and _code(readers[0]) is not None:
            found[node] = readers[0]
    return found


def _code(node: fx.Node) -> tuple[int, tuple[float, ...]] | None:
    """ncnn's number of an activation, and its parameters."""
    if is_call(node, aten.leaky_relu.default):
        return 2, (_slope(node),)
    if is_call(node, aten.sigmoid.default):
        return 4, ()
    interval = bounds(node)
    if interval is None:
        return None
    return (1, ()) if interval == (0.0, math.inf) else (3, _finite(interval))


def _activation(assembly: Assembly, node: fx.Node) -> dict[int, Value]:
    if node not in assembly.fused:
        return {}
    code = _code(assembly.fused[node])
    assert code is not None
    number, parameters = code
    return {9: number, 10: parameters} if parameters else {9: number}


def _slope(node: fx.Node) -> float:
    return float(arguments(node)[1]) if len(arguments(node)) > 1 else 0.01


def _finite(interval: tuple[float, float]) -> tuple[float, float]:
    return max(interval[0], -LARGEST), min(interval[1], LARGEST)


@emits(aten.relu.default, aten.clamp.default)
def clip(assembly: Assembly, node: fx.Node) -> None:
    interval = bounds(node)
    if interval is None:
        raise unsupported(node, "its bounds are computed from the image")
    x = assembly.read(arguments(node)[0])
    if interval == (0.0, math.inf):
        assembly.emit(node, "ReLU", (x,))
    else:
        assembly.emit(node, "Clip", (x,), dict(enumerate(_finite(interval))))


@emits(aten.leaky_relu.default)
def leaky_relu(assembly: Assembly, node: fx.Node) -> None:
    assembly.emit(node, "ReLU", (assembly.read(arguments(node)[0]),), {0: _slope(node)})


@emits(aten.prelu.default)
def prelu(assembly: Assembly, node: fx.Node) -> None:
    x, weight = arguments(node)
    slopes = _weights(assembly, node, weight)
    assembly.emit(node, "PReLU", (assembly.read(x),), {0: int(slopes.size)}, plain=slopes)


_UNARY: dict[Any, tuple[str, dict[int, Value]]] = {
    aten.sigmoid.default: ("Sigmoid", {}),
    aten.tanh.default: ("TanH", {}),
    aten.sqrt.default: ("UnaryOp", {0: 5}),
    aten.rsqrt.default: ("UnaryOp", {0: 6}),
}


@emits(*_UNARY)
def unary(assembly: Assembly, node: fx.Node) -> None:
    kind, parameters = _UNARY[node.target]
    assembly.emit(node, kind, (assembly.read(arguments(node)[0]),), parameters)


_POWERS = {2: 4, 0.5: 5, -0.5: 6}
"""Exponent to UnaryOp: ncnn's BinaryOp goes through logarithms, which negative numbers lack."""


@emits(aten.pow.Tensor_Scalar)
def power(assembly: Assembly, node: fx.Node) -> None:
    x, exponent = arguments(node)
    if exponent not in _POWERS:
        raise unsupported(node, f"ncnn is right about powers of 2, 0.5 and -0.5, not {exponent}")
    assembly.emit(node, "UnaryOp", (assembly.read(x),), {0: _POWERS[exponent]})


# --- arithmetic -----------------------------------------------------------------------------

_ADD, _SUB, _MUL, _DIV, _MAX, _MIN, _, _RSUB, _RDIV = range(9)
_BINARY: dict[Any, int] = {
    aten.add.Tensor: _ADD, aten.sub.Tensor: _SUB, aten.mul.Tensor: _MUL, aten.div.Tensor: _DIV,
    aten.maximum.default: _MAX, aten.minimum.default: _MIN,
}  # fmt: skip
_SWAPPED = {_SUB: _RSUB, _DIV: _RDIV}


@emits(*_BINARY)
def binary(assembly: Assembly, node: fx.Node) -> None:
    code, (left, right) = _BINARY[node.target], arguments(node)[:2]
    numbers = [_number(assembly, operand) for operand in (left, right)]
    if numbers[0] is not None:
        left, numbers, code = right, numbers[::-1], _SWAPPED.get(code, code)
    if numbers[1] is not None:
        parameters: dict[int, Value] = {0: code, 1: 1, 2: numbers[1]}
        assembly.emit(node, "BinaryOp", (assembly.read(left),), parameters)
    else:
        assembly.emit(node, "BinaryOp", (assembly.read(left), assembly.read(right)), {0: code})


def _number(assembly: Assembly, operand: Any) -> float | None:
    """The operand, where it is one number for all pixels."""
    if isinstance(operand, fx.Node):
        values = assembly.constant(operand)
        return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None
    return float(operand)


@emits(aten.mean.dim, aten.sum.dim_IntList)
def reduce(assembly: Assembly, node: fx.Node) -> None:
    """The mean over the image as a pooling, which GPUs have; others as they are."""
    x, axes = arguments(node)[:2]
    keep = len(arguments(node)) > 2 and arguments(node)[2]
    axes, mean = sorted(axis % 4 for axis in axes), is_call(node, aten.mean.dim)
    if not keep or 0 in axes:
        raise unsupported(node, "ncnn files of edgesr keep the axes that are averaged")
    blob = assembly.read(x)
    if mean and axes == [2, 3]:
        row = assembly.between(f"{node.name}.row", "Pooling", (blob,), {0: 1, 4: 1})
        assembly.emit(node, "Reshape", (row,), {0: 1, 1: 1, 2: -1})
        return
    parameters: dict[int, Value] = {
        0: 3 if mean else 0, 1: 0, 3: tuple(axis - 1 for axis in axes), 4: 1, 5: 1,
    }  # fmt: skip
    assembly.emit(node, "Reduction", (blob,), parameters)


# --- pixels that move -----------------------------------------------------------------------

_SHUFFLES: dict[Any, tuple[str, int]] = {
    aten.pixel_shuffle.default: ("PixelShuffle", 0), depth_to_space: ("PixelShuffle", 1),
    aten.pixel_unshuffle.default: ("Reorg", 0), space_to_depth: ("Reorg", 1),
}  # fmt: skip
"""Layer and mode: 0 keeps a colour's channels together (torch), 1 a pixel's (TFLite)."""


@emits(*_SHUFFLES)
def shuffle(assembly: Assembly, node: fx.Node) -> None:
    kind, mode = _SHUFFLES[node.target]
    x, block = arguments(node)
    assembly.emit(node, kind, (assembly.read(x),), {0: block, 1: mode})


@emits(rectangle_to_space)
def shuffle_rectangle(assembly: Assembly, node: fx.Node) -> None:
    """PixelShuffle has square blocks; a one-hot transposed convolution has any."""
    x, rows, columns = arguments(node)
    depth = assembly.shape(x)[1]
    colours = depth // (rows * columns)
    # channel (row * columns + column) * colours + colour of x becomes that pixel of that colour
    places = np.eye(depth, dtype=np.float32).reshape(rows, columns, colours, depth)
    kernel = np.ascontiguousarray(places.transpose(2, 3, 0, 1))
    steps = [rows, columns], [1, 1], 1
    _convolution(assembly, node, x, kernel, None, {14: 0, 4: 0}, steps, _TURNED)


@emits(aten.cat.default)
def concat(assembly: Assembly, node: fx.Node) -> None:
    parts, axis = arguments(node)
    inputs = tuple(assembly.read(part) for part in parts)
    assembly.emit(node, "Concat", inputs, {0: axis % 4 - 1})


@emits(aten.slice.Tensor)
def slice_(assembly: Assembly, node: fx.Node) -> None:
    """Where any size will do, bounds stay as they are: ncnn counts from the end as Python does."""
    x, axis, start, stop, step = arguments(node)
    axis = axis % 4
    if step != 1:
        raise unsupported(node, "ncnn's Crop takes no steps")
    if axis == 1 or assembly.fixed:
        extent = assembly.shape(x)[axis]
        start = min(start + extent if start < 0 else start, extent)
        stop = start + assembly.shape(node)[axis]
    elif not isinstance(start, int) or not isinstance(stop, int) or stop == TO_THE_END:
        raise unsupported(node, _FIXED)
    elif stop >= LARGEST_SIDE:
        stop = TO_THE_END
    parameters: dict[int, Value] = {9: (start,), 10: (stop,), 11: (axis - 1,)}
    assembly.emit(node, "Crop", (assembly.read(x),), parameters)


_PADDINGS = {"constant": 0, "replicate": 1, "reflect": 2}


@emits(aten.pad.default)
def pad(assembly: Assembly, node: fx.Node) -> None:
    x, sides, mode, value = arguments(node)
    if mode not in _PADDINGS or any(sides[4:]):
        raise unsupported(node, "ncnn files of edgesr pad rows and columns only")
    if not all(isinstance(side, int) for side in sides):
        raise unsupported(node, _FIXED)
    if min(sides) < 0:
        raise unsupported(node, "ncnn's Padding does not cut")
    left, right, top, bottom = [*sides, 0, 0][:4]
    parameters: dict[int, Value] = {
        0: top, 1: bottom, 2: left, 3: right, 4: _PADDINGS[mode], 5: float(value or 0.0),
    }  # fmt: skip
    assembly.emit(node, "Padding", (assembly.read(x),), parameters)


# --- windows and sizes ----------------------------------------------------------------------


@emits(aten.max_pool2d.default, aten.avg_pool2d.default)
def pool(assembly: Assembly, node: fx.Node) -> None:
    largest = is_call(node, aten.max_pool2d.default)
    # dilation, ceil_mode; or ceil_mode, count_include_pad, divisor_override
    defaults = [[], 0, 1, False] if largest else [[], 0, False, True, None]
    given = list(arguments(node))
    x, kernel, stride, padding, *rest = given + defaults[len(given) - 2 :]
    ceil = rest[1] if largest else rest[0]
    if (largest and _pair(rest[0]) != [1, 1]) or (not largest and rest[2] is not None):
        raise unsupported(node, "ncnn's Pooling has no dilation and no divisor")
    kernel, padding = _pair(kernel), _pair(padding)
    if ceil and any(padding):
        raise unsupported(node, "ncnn's Pooling places the last window of ceil_mode elsewhere")
    stride = _pair(stride) if stride else kernel
    parameters: dict[int, Value] = {
        0: int(not largest), 1: kernel[1], 11: kernel[0], 2: stride[1], 12: stride[0],
        3: padding[1], 14: padding[1], 13: padding[0], 15: padding[0], 5: int(not ceil),
    }  # fmt: skip
    if not largest:
        parameters[6] = int(rest[1])
    assembly.emit(node, "Pooling", (assembly.read(x),), parameters)


_RESIZES: dict[Any, int] = {
    aten.upsample_nearest2d.vec: 1, aten.upsample_bilinear2d.vec: 2, aten.upsample_bicubic2d.vec: 3,
}  # fmt: skip


@emits(*_RESIZES)
def resize(assembly: Assembly, node: fx.Node) -> None:
    """To factors, to fixed sides, or to the sides of another map."""
    x, size, *rest = arguments(node)
    factors = rest[-1]
    inputs: tuple[str, ...] = (assembly.read(x),)
    parameters: dict[int, Value] = {0: _RESIZES[node.target]}
    aligned = len(rest) > 1 and bool(rest[0])
    sides = zip(assembly.shape(x)[2:], assembly.shape(node)[2:], factors or (), strict=False)
    if any(before * factor != after for before, after, factor in sides):
        raise unsupported(node, "ncnn places its pixels by the sides, not by the factor")
    if assembly.fixed or (size is not None and all(isinstance(side, int) for side in size)):
        parameters |= {3: assembly.shape(node)[2], 4: assembly.shape(node)[3]}
    elif size is None:
        if not all(float(factor).is_integer() for factor in factors):
            raise unsupported(node, _FIXED)
        parameters |= {1: float(factors[0]), 2: float(factors[1])}
    else:
        inputs, parameters[5] = (*inputs, assembly.read(_like(node, size))), 1
    if aligned:
        parameters[6] = 1
    assembly.emit(node, "Interp", inputs, parameters)


def _like(node: fx.Node, size: list[Any]) -> fx.Node:
    """The map whose rows and columns `size` is."""
    sources = []
    for axis, side in enumerate(size, 2):
        if not is_call(side, aten.sym_size.int) or side.args[1] % 4 != axis:
            raise unsupported(node, _FIXED)
        sources.append(side.args[0])
    if sources[0] is not sources[1]:
        raise unsupported(node, _FIXED)
    source: fx.Node = sources[0]
    return source


def _pair(value: Any) -> list[int]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return items * 2 if len(items) == 1 else items

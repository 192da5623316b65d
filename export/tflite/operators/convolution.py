"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.lower.editor import arguments
from edgesr.export.tflite.builder import Array
from edgesr.export.tflite.emission import Emission, nhwc, to_numpy, unsupported
from edgesr.export.tflite.fusion import NONE
from edgesr.export.tflite.operators.layout import write_pad, write_slice, zero_pad
from edgesr.export.tflite.operators.table import emits
from edgesr.export.tflite.padding import VALID, Window, scheme_for
from edgesr.export.tflite.versions import GROUPED_CONV
from torch import fx

from edgesr.graph import aten


@emits(aten.conv2d.default)
def convolution(emission: Emission, node: fx.Node) -> None:
    """Torch's padding becomes SAME or VALID where that is the same, else a PAD and VALID."""
    x, weight, bias, stride, _, dilation, groups = arguments(node)
    kernel = emission.constant(weight)
    if kernel is None or (bias is not None and emission.constant(bias) is None):
        raise unsupported(node, "its weights are computed from the image; TFLite wants constants")
    assert isinstance(x, fx.Node)
    source, scheme = _padded_source(emission, node, kernel)
    channels = emission.shape(x)[1]
    depthwise = groups == channels and channels > 1
    options: Any = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = scheme
    options.strideH, options.strideW = stride
    options.dilationHFactor, options.dilationWFactor = dilation
    options.fusedActivationFunction = emission.activation(node)
    if depthwise:
        options.depthMultiplier = kernel.shape[0] // channels
    inputs = [source, *_weights(emission, node, kernel, depthwise=depthwise)]
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    version = GROUPED_CONV if groups != 1 and not depthwise else None
    emission.emit(node, name, inputs, emission.output(node), options, version=version)


def _padded_source(emission: Emission, node: fx.Node, kernel: Array) -> tuple[int, int]:
    """What the convolution reads, and SAME or VALID; swallows a pad of zeros before it."""
    x, padding = arguments(node)[0], arguments(node)[4]
    before = list(padding)
    pad = zero_pad(x)
    if pad is not None and before == [0, 0]:
        source, (left, _, top, _) = pad
        windows = _windows(emission, node, source, kernel, (top, left))
        scheme = scheme_for(*windows)
        if scheme is not None and all(w.after >= 0 for w in windows):
            return emission.read(source), scheme
    windows = _windows(emission, node, x, kernel, before)
    scheme = scheme_for(*windows)
    if scheme is not None:
        return emission.read(x), scheme
    rows, columns = windows
    margins = ((rows.before, max(rows.after, 0)), (columns.before, max(columns.after, 0)))
    return write_pad(emission, node, x, margins), VALID


def _windows(
    emission: Emission, node: fx.Node, x: Any, kernel: Array, before: Any
) -> tuple[Window, Window]:
    _, _, _, stride, _, dilation, _ = arguments(node)
    sizes, outputs = emission.shape(x)[2:], emission.shape(node)[2:]
    rows, columns = (
        Window(sizes[i], kernel.shape[2 + i], stride[i], dilation[i], before[i], outputs[i])
        for i in range(2)
    )
    return rows, columns


def _weights(emission: Emission, node: fx.Node, kernel: Array, *, depthwise: bool) -> list[int]:
    """Kernel (OHWI, or 1HWO if depthwise) and bias."""
    order = (2, 3, 0) if depthwise else (0, 2, 3, 1)
    axis = 3 if depthwise else 0

    def laid_out(oihw: Array) -> Array:
        moved = oihw[:, 0].transpose(1, 2, 0)[None] if depthwise else oihw.transpose(order)
        return np.ascontiguousarray(moved)

    if emission.quantized is None:
        bias = emission.constant(arguments(node)[2])
        values = np.zeros(len(kernel), np.float32) if bias is None else bias
        names = f"{node.name}_weight", f"{node.name}_bias"
        return [emission.weights(names[0], laid_out(kernel)), emission.weights(names[1], values)]
    integers = emission.quantized.weights[node.name]
    params = emission.params(arguments(node)[0])
    assert params is not None
    scale = to_numpy(integers.scale)
    weight, bias = laid_out(integers.weight.numpy()), integers.bias.numpy()
    return [
        emission.builder.tensor(
            f"{node.name}_weight", weight.shape, np.int8, data=weight, scale=scale, axis=axis
        ),
        emission.builder.tensor(
            f"{node.name}_bias", scale.shape, bias.dtype, data=bias,
            scale=scale * np.float32(params.scale),
        ),
    ]  # fmt: skip


@emits(aten.conv_transpose2d.input)
def transposed(emission: Emission, node: fx.Node) -> None:
    """The few transposed convolutions that lowering leaves: cut out of the unpadded result."""
    x, weight, bias, stride, padding, _, groups, dilation = arguments(node)
    kernel, offset = emission.constant(weight), emission.constant(bias)
    if kernel is None or groups != 1 or dilation != [1, 1]:
        raise unsupported(node, "TRANSPOSE_CONV takes constant kernels, one group, no dilation")
    assert isinstance(x, fx.Node)
    n, channels, *sizes = emission.shape(node)
    full = [
        (size - 1) * s + k
        for size, s, k in zip(emission.shape(x)[2:], stride, kernel.shape[2:], strict=True)
    ]
    if any(p + size > f for p, size, f in zip(padding, sizes, full, strict=True)):
        raise unsupported(node, "its output_padding reaches beyond what the kernel covers")
    options = schema.TransposeConvOptionsT()
    options.padding, options.fusedActivationFunction = VALID, NONE
    options.strideH, options.strideW = stride
    values = np.zeros(channels, np.float32) if offset is None else offset
    whole = (n, channels, *full)
    inputs = [
        emission.integers(f"{node.name}_shape", nhwc(whole)),
        emission.weights(f"{node.name}_weight", kernel.transpose(1, 2, 3, 0)),
        emission.read(x),
        emission.weights(f"{node.name}_bias", values),
    ]
    if list(full) == list(sizes):
        emission.emit(node, "TRANSPOSE_CONV", inputs, emission.output(node), options)
        return
    uncut = emission.temporary(f"{node.name}_full", whole, None)
    emission.emit(node, "TRANSPOSE_CONV", inputs, uncut, options)
    write_slice(emission, node, uncut, [0, 0, *padding])

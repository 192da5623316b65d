"""Activations that are not fused into the operator before them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.lower.editor import arguments
from edgesr.export.lower.merge import bounds
from edgesr.export.tflite.emission import Emission, type_of, unsupported
from edgesr.export.tflite.fusion import clip_codes
from edgesr.export.tflite.operators.table import emits
from torch import fx

from edgesr.graph import aten

_NAMED = {
    (0.0, math.inf): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}

_SQUASHES: dict[Any, tuple[str, float, int]] = {
    aten.sigmoid.default: ("LOGISTIC", 1 / 256, -128),
    aten.tanh.default: ("TANH", 1 / 128, 0),
}
"""Operator and the output quantization its int8 kernel prescribes."""


@emits(aten.relu.default, aten.clamp.default)
def clip(emission: Emission, node: fx.Node) -> None:
    """One named operator where there is one, else MAXIMUM and MINIMUM."""
    if emission.quantized is not None:
        _integer_clip(emission, node)
        return
    interval = bounds(node)
    if interval is None:
        raise unsupported(node, "its bounds are computed from the image")
    x = emission.read(arguments(node)[0])
    if interval in _NAMED:
        emission.emit(node, _NAMED[interval], [x], emission.output(node))
        return
    limits = [("MAXIMUM", interval[0]), ("MINIMUM", interval[1])]
    _limit(emission, node, x, [(name, value) for name, value in limits if not math.isinf(value)])


def _integer_clip(emission: Emission, node: fx.Node) -> None:
    """Input and output share their scale, so that clipping compares codes."""
    assert emission.quantized is not None
    x, params = arguments(node)[0], emission.params(node)
    assert isinstance(x, fx.Node) and params is not None
    if emission.params(x) != params:
        raise unsupported(node, "int8 clips want one scale for input and output")
    if node in emission.fusion.identities:
        emission.indices[node] = emission.read(x)
        return
    low, high = clip_codes(node, emission.quantized)
    least, most = params.codes
    if (low, high) == (params.zero_point, most):
        emission.emit(node, "RELU", [emission.read(x)], emission.output(node))
        return
    limits: list[tuple[str, float]] = []
    if low > least:
        limits.append(("MAXIMUM", low))
    if high < most:
        limits.append(("MINIMUM", high))
    _limit(emission, node, emission.read(x), limits)


def _limit(emission: Emission, node: fx.Node, x: int, limits: list[tuple[str, float]]) -> None:
    params = emission.params(node)
    for number, (name, value) in enumerate(limits):
        last = number == len(limits) - 1
        label = f"{node.name}_{name.lower()}"
        if params is None:
            bound = emission.weights(label, np.asarray(value, np.float32))
        else:
            bound = emission.codes(label, np.asarray(value, type_of(params)), params)
        y = (
            emission.output(node)
            if last
            else emission.temporary(f"{label}_result", emission.shape(node), params)
        )
        emission.emit(node, name, [x, bound], y, schema.MaximumMinimumOptionsT())
        x = y


@emits(aten.leaky_relu.default)
def leaky_relu(emission: Emission, node: fx.Node) -> None:
    options = schema.LeakyReluOptionsT()
    options.alpha = float(arguments(node)[1]) if len(arguments(node)) > 1 else 0.01
    x = emission.read(arguments(node)[0])
    emission.emit(node, "LEAKY_RELU", [x], emission.output(node), options)


@emits(aten.prelu.default)
def prelu(emission: Emission, node: fx.Node) -> None:
    slopes = emission.constant(arguments(node)[1])
    if slopes is None:
        raise unsupported(node, "its slopes are computed from the image")
    if emission.quantized is not None:
        raise unsupported(node, "PRELU has no fast int8 kernel; quantization rewrites it")
    x = emission.read(arguments(node)[0])
    alpha = emission.weights(f"{node.name}_slopes", slopes.reshape(1, 1, -1))
    emission.emit(node, "PRELU", [x, alpha], emission.output(node))


@emits(*_SQUASHES)
def squash(emission: Emission, node: fx.Node) -> None:
    """int8 kernels prescribe the output's quantization."""
    name, scale, zero_point = _SQUASHES[node.target]
    params = emission.params(node)
    if params is not None and params.bits == 16:
        scale, zero_point = 2.0**-15, 0
    if params is not None and (params.scale, params.zero_point) != (scale, zero_point):
        raise unsupported(node, f"int8 {name} wants an output scale of {scale} around {zero_point}")
    emission.emit(node, name, [emission.read(arguments(node)[0])], emission.output(node))

"""16-bit activations with 8-bit weights: `int16x8`, for what eight bits cannot hold.

Codes are int16 and symmetric (zero point 0), biases int64. A pixel p has the code 128 p, so input
and output stay exact; the clip and the shuffle at the end work on 8-bit pixels again.

LiteRT runs this with kernels of its own (no XNNPACK; NPUs such as Ethos-U and Hexagon have them
too). ONNX Runtime and OpenVINO have no such convolution on CPUs: they keep the 16-bit rounding of
every tensor and compute in float between (ONNX Runtime: 1.1 % of the pixels of plain-m-x3 fall to
the other side of half a code, which is 1.4 of 65536 codes on average; OpenVINO computes something
else with 16-bit scales and is refused). The reference follows LiteRT: convolutions, sums, clips
and moves code by code; products, sigmoid, tanh, means and bilinear resizing to the nearest code,
where LiteRT's tables and shifts are a few of 65536 codes away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from edgesr.quantize import integer
from edgesr.quantize.integer import Kernel, Step
from edgesr.quantize.islands import to_codes, to_real
from edgesr.quantize.scheme import HIGHEST_16, LOWEST, LOWEST_16, QParams, QuantizedGraph, QWeights
from edgesr.quantize.ties import MOVES, tie
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.errors import UsageError
from edgesr.graph import aten, is_call, output_of, tensor_nodes

STEPS = 128
"""16-bit codes per pixel value."""

_FIXED: dict[Any, float] = {aten.sigmoid.default: 2.0**-15, aten.tanh.default: 2.0**-15}
"""Output scales that LiteRT's 16-bit kernels prescribe."""


def widen(quantized: QuantizedGraph) -> QuantizedGraph:
    """The graph with 16-bit activations: the same ranges, 256 times finer; weights stay.

    Raises:
        UsageError: the graph has 16-bit activations or float islands already.
    """
    graph, network = quantized.graph, quantized.network
    lacking = [n.name for n in tensor_nodes(graph) if n.name not in quantized.activations]
    if quantized.precision != "int8" or lacking:
        raise UsageError(f"`{network.name}` is no int8 graph throughout; quantize it again")
    groups = tie(graph)
    fixed = {
        groups.find(n.name): _FIXED[n.target] for n in tensor_nodes(graph) if is_call(n, *_FIXED)
    }
    pixels = QParams(float(np.float32(network.value_range / 255)), LOWEST)
    activations = {}
    for name, params in quantized.activations.items():
        scale = max(-params.lowest, params.highest) / HIGHEST_16
        if params == pixels:
            scale = pixels.scale / STEPS
        scale = fixed.get(groups.find(name), scale)
        activations[name] = QParams(float(np.float32(scale)), 0, 16)
    node = output_of(graph)
    while is_call(node, *MOVES) and not is_call(node, aten.relu.default):
        activations[node.name] = pixels
        (node,) = (x for x in node.all_input_nodes if x.name in activations)
    weights = {
        conv.name: _wide_bias(quantized, conv, activations)
        for conv in tensor_nodes(graph)
        if conv.name in quantized.weights
    }
    steps = [*quantized.calibration.get("steps", []), "activations of 16 bits"]
    record = {**quantized.calibration, "steps": steps}
    return replace(quantized, activations=activations, weights=weights, calibration=record)


def _wide_bias(
    quantized: QuantizedGraph, conv: fx.Node, activations: dict[str, QParams]
) -> QWeights:
    """The bias in units of the finer input: what bias correction did is kept."""
    weights, source = quantized.weights[conv.name], conv.args[0]
    assert isinstance(source, fx.Node)
    finer = quantized.activations[source.name].scale / activations[source.name].scale
    bias = torch.round(weights.bias.double() * finer).to(torch.int64)
    return replace(weights, bias=bias)


def input_codes(codes: Tensor) -> Tensor:
    """8-bit codes of pixels to 16-bit ones."""
    return (codes - LOWEST) * STEPS


def output_codes(quantized: QuantizedGraph, codes: Tensor) -> Tensor:
    """What a graph ends with to 8-bit codes of pixels."""
    if quantized.activations[output_of(quantized.graph).name].bits == 8:
        return codes
    source = quantized.activations[output_of(quantized.graph).name]
    return _requantized(codes, source, QParams(source.scale * STEPS, LOWEST))


def tolerance(quantized: QuantizedGraph, target: str) -> float:
    """Largest difference from the reference that a target explains, in 8-bit output codes.

    A 16-bit code is 1/128 of a pixel's, so a runtime that is a few of them away rounds some pixels
    to the other side. That is 1, for LiteRT on networks of its exact operators 0.
    """
    inexact = [n for n in tensor_nodes(quantized.graph) if not is_call(n, *_EXACT)]
    calls = [n for n in inexact if n.op == "call_function"]
    return 0 if target == "tflite" and not calls else 1 + len(calls)


# --- kernels ----------------------------------------------------------------------------------


def _multiplier(real: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissa of 31 bits and exponent of `real` (QuantizeMultiplier)."""
    mantissa, exponent = torch.frexp(real.double())
    fixed = torch.round(mantissa * 2.0**31).to(torch.int64)
    over = fixed == 2**31
    return torch.where(over, fixed // 2, fixed), exponent.to(torch.int64) + over.to(torch.int64)


def convolution(step: Step) -> Tensor:
    """LiteRT's 64-bit sums: multipliers of 15 bits, halves up (MultiplyByQuantizedMultiplier)."""
    weights = step.weights
    assert weights is not None
    _, _, _, stride, padding, dilation, groups = step.args
    x, kernel = step.args[0].double(), weights.weight.double()
    sums = F.conv2d(x, kernel, None, stride, padding, dilation, groups).to(torch.int64)
    sums += weights.bias.to(torch.int64).reshape(1, -1, 1, 1)
    real = step.inputs[0].scale * weights.scale.double() / step.output.scale
    mantissa, exponent = _multiplier(real)
    reduced = torch.where(mantissa < 0x7FFF0000, (mantissa + (1 << 15)) >> 16, 0x7FFF)
    shift = (15 - exponent).reshape(1, -1, 1, 1)
    product = sums * reduced.reshape(1, -1, 1, 1) + (1 << (shift - 1))
    return (product >> shift).clamp(LOWEST_16, HIGHEST_16).float()


def addition(step: Step) -> Tensor:
    """LiteRT's sum of 16-bit codes: both on the coarser scale with 15 more bits, then back."""
    (a, b), (first, second) = step.args[:2], step.inputs
    common = 2 * max(first.scale, second.scale)
    left = _scaled(a.to(torch.int64) << 15, first.scale / common)
    right = _scaled(b.to(torch.int64) << 15, second.scale / common)
    total = left - right if is_call(step.node, aten.sub.Tensor) else left + right
    result = _scaled(total, common / (2**15 * step.output.scale))
    return result.clamp(LOWEST_16, HIGHEST_16).float()


def _scaled(x: Tensor, real: float) -> Tensor:
    """SaturatingRoundingDoublingHighMul, then a rounding shift (gemmlowp)."""
    mantissa, exponent = (int(v) for v in _multiplier(torch.tensor(real, dtype=torch.float64)))
    if exponent > 0:
        x, exponent = x << exponent, 0
    product = x * mantissa
    nudged = product + torch.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = torch.div(nudged, 1 << 31, rounding_mode="trunc")
    if exponent == 0:
        return high
    shift = -exponent
    mask = (1 << shift) - 1
    threshold = (mask >> 1) + (high < 0).to(torch.int64)
    return (high >> shift) + ((high & mask) > threshold).to(torch.int64)


def clip(step: Step) -> Tensor:
    """Bounds as codes."""
    low, high = integer.clip_codes(step.node, step.output)
    x: Tensor = step.args[0]
    return x.clamp(low, high)


def _requantized(codes: Tensor, source: QParams, result: QParams) -> Tensor:
    """From one scale to another: fixed point of 31 bits, halves up (LiteRT's QUANTIZE)."""
    scaled = _scaled(codes.to(torch.int64), source.scale / result.scale)
    return (scaled + result.zero_point).clamp(*result.codes).float()


def narrowing(kernel: Kernel) -> Kernel:
    """An operator that moves values; where its result has 8 bits, 16-bit codes become those."""

    def narrowed(step: Step) -> Tensor:
        source, result = step.inputs[0], step.output
        if source.bits == result.bits:
            return kernel(step)
        codes = _requantized(step.args[0], source, result)
        inputs = [result, *step.inputs[1:]]
        return kernel(replace(step, args=(codes, *step.args[1:]), inputs=inputs))

    return narrowed


def nearest(step: Step) -> Tensor:
    """In float, rounded to the nearest code."""
    inputs = iter(step.inputs)
    real = [to_real(a, next(inputs)) if isinstance(a, Tensor) else a for a in step.args]
    function: Callable[..., Tensor] = step.node.target  # type: ignore[assignment]
    return to_codes(function(*real), step.output)


_EXACT_KERNELS: dict[object, Kernel] = {
    aten.conv2d.default: convolution,
    aten.add.Tensor: addition,
    aten.sub.Tensor: addition,
    aten.relu.default: narrowing(clip),
    aten.clamp.default: narrowing(clip),
} | {
    target: narrowing(kernel)
    for target, kernel in integer.KERNELS.items()
    if kernel in (integer.move, integer.pad)
}
_EXACT = tuple(_EXACT_KERNELS)
KERNELS: dict[object, Kernel] = dict.fromkeys(integer.KERNELS, nearest) | _EXACT_KERNELS
"""Every operator with 16-bit activations."""

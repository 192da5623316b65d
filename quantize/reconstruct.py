"""Rounding of weights and biases, layer by layer, so that each layer's output changes least.

Rounding every weight to its nearest code minimizes the error of the weights; what matters is the
error of the layer's output on photos. AdaRound (Nagel et al., "Up or Down? Adaptive Rounding for
Post-Training Quantization", ICML 2020, eq. 21) minimizes that by gradient descent over the choice
of up or down. The same quadratic objective is solved here one weight at a time: round it, then move
the weights not yet rounded to where they make up for the error (Frantar et al., "GPTQ", ICLR 2023,
section 3): no learning rate, no iterations, a second per layer instead of minutes.

Biases then absorb the mean error per channel (Nagel et al., ICCV 2019, section 4.2), of this
layer's rounding and of everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from edgesr.quantize.calibrate import Report, quiet
from edgesr.quantize.integer import KERNELS, Step, nodes_in
from edgesr.quantize.scheme import QParams, QuantizedGraph, QWeights
from edgesr.quantize.ties import REQUANTIZES, is_copy
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.graph import constant_of, is_call

aten = torch.ops.aten

DAMPING = 0.01
"""Share of the mean diagonal added to the Hessian: photos leave some directions unseen."""
SAMPLES = 16_384
"""Output pixels that make up the Hessian of a layer; 28 for each of 576 weights."""


def reconstruct(
    quantized: QuantizedGraph,
    batch: Tensor,
    rounding: bool = True,
    bias_correction: bool = True,
    report: Report = quiet,
) -> QuantizedGraph:
    """Choose weight and bias codes again, in the order the layers run.

    Args:
        batch: network inputs of one size, NxCxHxW, as `calibrate.to_input` makes them.
        rounding: choose weights.
        bias_correction: choose biases.
    """
    walk = _Walk(quantized, rounding, bias_correction, report)
    with torch.inference_mode():
        walk.run(batch)
    return replace(quantized, weights=quantized.weights | walk.chosen)


class _Walk(fx.Interpreter):
    """Runs the float graph and, beside it, the integers chosen so far."""

    def __init__(
        self, quantized: QuantizedGraph, rounding: bool, correcting: bool, report: Report
    ) -> None:
        super().__init__(quantized.graph)
        self._quantized, self._report = quantized, report
        self._rounding, self._correcting = rounding, correcting
        self.chosen: dict[str, QWeights] = {}
        self._codes: dict[fx.Node, Any] = {}
        self._left = {n: len(n.users) for n in quantized.graph.graph.nodes}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        known = self._quantized.activations
        if n.op == "placeholder":
            params = known[n.name]
            self._codes[n] = torch.round(result / params.scale).add_(params.zero_point)
        elif n.op == "call_function" and n.name in known:
            self._codes[n] = self._run_codes(n, result)
        for x in n.all_input_nodes:
            self._left[x] -= 1
            if not self._left[x]:
                self._codes.pop(x, None)
        return result

    def _run_codes(self, n: fx.Node, real: Tensor) -> Tensor:
        args: Any = fx.node.map_arg(n.args, lambda m: self._codes.get(m, self.env.get(m)))
        known = self._quantized.activations
        inputs = [known[m.name] for m in nodes_in(n.args) if m.name in known]
        if not is_call(n, aten.conv2d.default):
            return KERNELS[n.target](Step(n, args, inputs, known[n.name]))
        weights = self._quantized.weights[n.name]
        if is_copy(self._quantized.graph, n) or n.meta.get(REQUANTIZES):
            self.chosen[n.name] = weights  # nothing is lost in a copy
            return KERNELS[n.target](Step(n, args, inputs, known[n.name], weights))
        values = (args[0] - inputs[0].zero_point) * inputs[0].scale
        if self._rounding:
            kernel = constant_of(self._quantized.graph, n.args[1])
            assert kernel is not None
            weights = round_weights(kernel, weights, values, n.args)
        if self._correcting:
            weights = _correct_bias(weights, values, real, inputs[0], args)
        self.chosen[n.name] = weights
        self._report("rounding", len(self.chosen), len(self._quantized.weights))
        return KERNELS[n.target](Step(n, args, inputs, known[n.name], self.chosen[n.name]))


def _correct_bias(
    weights: QWeights, values: Tensor, wanted: Tensor, source: QParams, arguments: Sequence[Any]
) -> QWeights:
    """Shift every channel by what it is off on average."""
    unit = source.scale * weights.scale
    kernel = weights.weight * weights.scale.reshape(-1, 1, 1, 1)
    got = F.conv2d(values, kernel, weights.bias * unit, *arguments[3:])
    error = (wanted - got).mean((0, 2, 3), dtype=torch.float64)
    shift = torch.round(error / unit.double()).to(torch.int32)
    return replace(weights, bias=weights.bias + shift)


def round_weights(
    kernel: Tensor, nearest: QWeights, values: Tensor, arguments: Sequence[Any]
) -> QWeights:
    """Codes of a kernel that reproduce its output on the given inputs best.

    Args:
        kernel: float, O x I/groups x kH x kW.
        nearest: gives the scales; they stay.
        values: real inputs of the layer, NxCxHxW.
        arguments: of the convolution node.
    """
    if kernel[0].numel() == 1:
        return nearest  # nothing to make up with
    groups = int(arguments[6])
    per_group = len(kernel) // groups
    inputs = values.shape[1] // groups
    codes = torch.empty_like(nearest.weight)
    for group in range(groups):
        out = slice(group * per_group, (group + 1) * per_group)
        columns = _columns(values[:, group * inputs : (group + 1) * inputs], kernel, arguments)
        if float(columns.abs().max()) == 0:
            codes[out] = nearest.weight[out]
            continue
        steps = kernel[out].flatten(1).double() / nearest.scale[out].double()[:, None]
        hessian = (columns.T @ columns).double()
        codes[out] = _compensated(steps, hessian).reshape(codes[out].shape).to(torch.int8)
    return QWeights(codes, nearest.scale, nearest.bias)


def _columns(values: Tensor, kernel: Tensor, arguments: Sequence[Any]) -> Tensor:
    """Inputs under the kernel at evenly spaced output pixels, samples x weights."""
    _, _, _, stride, padding, dilation, _ = arguments
    padded = F.pad(values, (padding[1], padding[1], padding[0], padding[0]))
    down, across = dilation
    rows, columns = torch.arange(kernel.shape[2]) * down, torch.arange(kernel.shape[3]) * across
    tops = torch.arange(0, padded.shape[2] - int(rows[-1]), stride[0])
    lefts = torch.arange(0, padded.shape[3] - int(columns[-1]), stride[1])
    count = len(values) * len(tops) * len(lefts)
    picks = torch.arange(0, count, max(1, count // SAMPLES))
    image, place = picks // (len(tops) * len(lefts)), picks % (len(tops) * len(lefts))
    rows = tops[place // len(lefts), None, None] + rows[:, None]
    columns = lefts[place % len(lefts), None, None] + columns
    found = padded[image[:, None, None], :, rows, columns]  # samples x kH x kW x channels
    return found.permute(0, 3, 1, 2).flatten(1)


def _compensated(steps: Tensor, hessian: Tensor) -> Tensor:
    """Round columns in turn; the rest makes up for each. `steps` is O x K, in weight steps."""
    steps = steps.clone()
    diagonal = hessian.diagonal()
    diagonal += DAMPING * diagonal.mean()
    order = torch.argsort(diagonal, descending=True)
    steps, hessian = steps[:, order], hessian[order][:, order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    codes = torch.empty_like(steps)
    for k in range(steps.shape[1]):
        codes[:, k] = torch.round(steps[:, k]).clamp(-127, 127)
        error = (steps[:, k] - codes[:, k]) / factor[k, k]
        steps[:, k:] -= error[:, None] * factor[k, k:]
    return codes[:, torch.argsort(order)]

"""Fake quantization on the integer grid: the integer reference, with gradients.

Activations are whole-number codes carried as floats, exactly those of `integer.py`; what is learned
are the real weights and biases behind the integers, and, while `learns_ranges`, one scale per group
of tensors that must share it.

Values come from the integer kernels. Gradients are those of the same operator on real numbers
("straight-through"), none where a code saturates. A scale's gradient follows from that without
further rules: codes are divided by it where they are made and multiplied by it where they are read,
which is LSQ (Esser et al., ICLR 2020, Eq. 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from edgesr.quantize import integer
from edgesr.quantize.integer import EXACT_LIMIT, KERNELS, Step, largest_sum
from edgesr.quantize.patches import are_patches
from edgesr.quantize.scales import choose_scales
from edgesr.quantize.scheme import HIGHEST, LOWEST, QParams, QuantizedGraph, QWeights
from edgesr.quantize.ties import REQUANTIZES, is_copy, tie
from edgesr.quantize.weights import quantize_weights
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgesr.bfloat16 import is_fast
from edgesr.errors import UnsupportedError
from edgesr.graph import (
    add_constant,
    constant_of,
    input_of,
    is_call,
    layer_of,
    output_of,
    tensor_nodes,
)

aten = torch.ops.aten

_ON_CODES = (integer.move, integer.clip, integer.pad)
"""Kernels that torch differentiates as they are."""
_PRESCRIBED = (aten.sigmoid.default, aten.tanh.default)
"""The runtimes dictate the scale of their output."""


class FakeQuantized(nn.Module):
    """A quantized graph that learns.

    Called with input codes (N x C x H x W, whole numbers in -128..127), it returns output codes,
    the same that `integer.execute` computes for `self.quantized()`.

    Args:
        start: what to begin with, reproduced code by code; left alone.
        learns_ranges: whether the scales of activations are learned too, until `freeze_ranges`.

    Raises:
        UnsupportedError: an operator without an integer formula (a batch normalization, say), or
            a tensor that is not quantized to 8 bits; names the layer.
    """

    def __init__(self, start: QuantizedGraph, *, learns_ranges: bool = False) -> None:
        super().__init__()
        integer.check(start.graph)
        _check_bits(start)
        self.start = start
        self.graph = channels_last(start.graph)
        self._nodes = {node.name: node for node in tensor_nodes(self.graph)}
        groups = tie(self.graph)
        self._root = {name: groups.find(name) for name in self._nodes}
        self._fixed = dict(start.activations)
        self.ranges = nn.ParameterDict()
        if learns_ranges:
            free = dict.fromkeys(r for r in self._root.values() if r not in self._pinned())
            self.ranges.update({root: nn.Parameter(torch.zeros(())) for root in free})
        self._shadows: dict[str, _Shadow] = {}
        self._ratios: dict[str, Tensor] = {}
        self._offsets: dict[str, Tensor] = {}
        for conv in self._convolutions():
            self._take_over(conv)
        self.graph.recompile()
        self.weights = nn.ParameterList(shadow.moves for shadow in self._shadows.values())
        """How far each weight went from its start, in steps of its channel; biases: in steps of the
        convolution's output. One learning rate then suits layers of any scale."""

    def forward(self, x: Tensor) -> Tensor:
        """Codes in, codes out."""
        self._write_constants()
        fake, activations, scales = self, self.activations(), self._scales()

        class Runner(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                if n.op != "call_function" or n.target not in KERNELS:
                    return super().run_node(n)
                args, _ = self.fetch_args_kwargs_from_env(n)
                inputs = [
                    activations[m.name] for m in integer.nodes_in(n.args) if m.name in activations
                ]
                step = Step(n, args, inputs, activations[n.name])
                if is_call(n, aten.conv2d.default):
                    return fake._convolve(step, activations, scales)
                if KERNELS[n.target] in _ON_CODES:
                    return KERNELS[n.target](step)
                with torch.no_grad():
                    exact = KERNELS[n.target](step)
                return straight_through(_approximate(step, scales), exact)

        output: Tensor = Runner(self.graph).run(x)
        return output

    def activations(self) -> dict[str, QParams]:
        """Quantization of every tensor at present, by node name."""
        if not self.ranges:
            return dict(self._fixed)
        with torch.no_grad():
            learned = {name: scale.item() for name, scale in self._scales().items()}
        return {name: replace(q, scale=learned[name]) for name, q in self._fixed.items()}

    def freeze_ranges(self) -> None:
        """End the learning of ranges: bring the scales under the rules of `scales.py`, for good."""
        self._write_constants()
        ranges = {name: (q.lowest, q.highest) for name, q in self.activations().items()}
        self._fixed = choose_scales(self.graph, self.start.network, ranges)
        self.ranges = nn.ParameterDict()

    def quantized(self) -> QuantizedGraph:
        """The result so far; with learned ranges before `freeze_ranges`, not for writers."""
        self._write_constants()
        activations = self.activations()
        weights = {conv.name: self._integers(conv, activations) for conv in self._convolutions()}
        graph = _in_layout(self.graph, torch.contiguous_format)
        return replace(self.start, graph=graph, activations=activations, weights=weights)

    def snapshot(self) -> dict[str, Any]:
        """Everything learned, as plain values and tensors."""
        return {
            "weights": [parameter.detach().clone() for parameter in self.weights],
            "ranges": {root: value.item() for root, value in self.ranges.items()},
            "fixed": {name: (q.scale, q.zero_point) for name, q in self._fixed.items()},
        }

    @torch.no_grad()
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Take over a `snapshot` of a module made from the same start."""
        for parameter, value in zip(self.weights, snapshot["weights"], strict=True):
            parameter.copy_(value)
        self._fixed = {name: QParams(*values) for name, values in snapshot["fixed"].items()}
        if not snapshot["ranges"]:
            self.ranges = nn.ParameterDict()
        for root, value in snapshot["ranges"].items():
            self.ranges[root].fill_(value)

    # --- ranges -----------------------------------------------------------------------------

    def _pinned(self) -> set[str]:
        nodes = [input_of(self.graph), output_of(self.graph)]
        nodes += [node for node in self._nodes.values() if is_call(node, *_PRESCRIBED)]
        nodes += [node for node in self._nodes.values() if are_patches(self.graph, node)]
        return {self._root[node.name] for node in nodes}

    def _scales(self) -> dict[str, Tensor]:
        """Scale of every tensor, by node name, as something to differentiate by."""
        return {
            name: torch.tensor(params.scale) * self.ranges[self._root[name]].exp()
            if self._root[name] in self.ranges
            else torch.tensor(params.scale)
            for name, params in self._fixed.items()
        }

    # --- convolutions -----------------------------------------------------------------------

    def _convolutions(self) -> Iterator[fx.Node]:
        return (n for n in self._nodes.values() if is_call(n, aten.conv2d.default))

    def _take_over(self, conv: fx.Node) -> None:
        """Make the convolution's constants learnable, at values that round to its integers."""
        known = self.start.weights[conv.name]
        scale_in, scale_out = self._fixed[_source(conv)].scale, self._fixed[conv.name].scale
        bias_step = scale_in * known.scale.double()
        if is_copy(self.graph, conv) or conv.meta.get(REQUANTIZES):
            # An identity written as a convolution; must stay one.
            self._offsets[conv.name] = known.bias * bias_step
            return
        if conv.args[2] is None:
            with self.graph.graph.inserting_before(conv):
                zeros = add_constant(self.graph, torch.zeros_like(known.scale), f"{conv.name}_bias")
            conv.update_arg(2, zeros)
        for node, codes, step, unit in (
            (conv.args[1], known.weight, known.scale, known.scale),
            (conv.args[2], known.bias, bias_step, torch.full_like(known.scale, scale_out)),
        ):
            value = constant_of(self.graph, node)
            assert value is not None
            name = str(node.target)  # type: ignore[union-attr]
            if name not in self._shadows:
                _settle(value, codes, step)
                self._shadows[name] = _Shadow(value, unit)
        plain = quantize_weights(self.graph, conv, self._fixed)
        ratio = known.scale.double() / plain.scale.double()
        if bool((ratio != 1).any()):
            self._ratios[conv.name] = ratio

    @torch.no_grad()
    def _write_constants(self) -> None:
        """Let the float graph compute with what was learned."""
        for shadow in self._shadows.values():
            shadow.constant.copy_(shadow.value())

    def _integers(self, conv: fx.Node, activations: dict[str, QParams]) -> QWeights:
        """Integers of the present weights, with scales as the start chose them: `max / 127`, or
        less by the share that it clips."""
        plain = quantize_weights(self.graph, conv, activations)
        scale_in = activations[_source(conv)].scale
        if conv.name in self._offsets:
            bias = torch.round(self._offsets[conv.name] / (scale_in * plain.scale.double()))
            return replace(plain, bias=bias.to(torch.int32))
        if conv.name not in self._ratios:
            return plain
        scale = (plain.scale.double() * self._ratios[conv.name]).float()
        weight, offset = (constant_of(self.graph, node) for node in conv.args[1:3])
        assert weight is not None and offset is not None
        steps = weight.double() / scale.double().reshape(-1, 1, 1, 1)
        return QWeights(
            weight=torch.round(steps).clamp(-127, 127).to(torch.int8),
            scale=scale,
            bias=torch.round(offset.double() / (scale_in * scale.double())).to(torch.int32),
        )

    def _convolve(
        self, step: Step, activations: dict[str, QParams], scales: dict[str, Tensor]
    ) -> Tensor:
        """`integer.convolution`, formula by formula."""
        node = step.node
        with torch.no_grad():
            known = self._integers(node, activations)
        s_in, s_out = scales[_source(node)], scales[node.name]
        kernel, bias = known.weight.float(), known.bias.float()
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        if node.name not in self._offsets:
            weight, offset = (self._shadows[str(n.target)].value() for n in node.args[1:3])  # type: ignore[union-attr]
            kernel = straight_through(weight / known.scale.reshape(-1, 1, 1, 1), kernel)
            bias = straight_through(offset / (s_in * known.scale), bias)
        x = step.args[0] - step.inputs[0].zero_point
        if not self.training and largest_sum(known, step.inputs[0]) >= EXACT_LIMIT:
            x, kernel, bias = x.double(), kernel.double(), bias.double()
        sums = _Convolution.apply(x, kernel, bias, *step.args[3:])  # type: ignore[no-untyped-call]
        multiplier = (s_in * known.scale / s_out).reshape(1, -1, 1, 1)
        codes: Tensor = _Requantization.apply(  # type: ignore[no-untyped-call]
            sums.float(), multiplier, step.output.zero_point
        )
        return codes


def channels_last(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy that computes in NHWC, twice as fast on CPUs."""
    return _in_layout(graph, torch.channels_last)


def _in_layout(graph: fx.GraphModule, layout: torch.memory_format) -> fx.GraphModule:
    copy: fx.GraphModule = deepcopy(graph).to(memory_format=layout)  # type: ignore[call-overload]
    return copy


class _Shadow:
    """A constant of the graph that learns: `start + moves * unit`."""

    def __init__(self, constant: Tensor, unit: Tensor) -> None:
        self.constant = constant
        self.start = constant.detach().clone()
        self.unit = unit.reshape(-1, *[1] * (constant.dim() - 1))
        self.moves = nn.Parameter(torch.zeros_like(self.start))

    def value(self) -> Tensor:
        return self.start + self.moves * self.unit


# --- gradients ------------------------------------------------------------------------------


def straight_through(smooth: Tensor, exact: Tensor) -> Tensor:
    """The value of `exact` with the gradient of `smooth`."""
    result: Tensor = _StraightThrough.apply(smooth, exact)  # type: ignore[no-untyped-call]
    return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


class _Convolution(torch.autograd.Function):
    """conv2d on whole numbers whose backward pass multiplies in bfloat16, where that is faster.

    Operands of up to 8 bits are exact in bfloat16, so only the incoming gradient is rounded; the
    backward pass is two thirds of the work and takes half the time this way on CPUs that have it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor, *options: Any) -> Tensor:
        ctx.options = options
        if any(ctx.needs_input_grad):
            kept = torch.bfloat16 if is_fast(x.device.type) else x.dtype
            ctx.save_for_backward(x.to(kept), kernel.to(kept))
        return F.conv2d(x, kernel, bias, *options)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, kernel = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        of_x, of_kernel, _ = aten.convolution_backward(
            gradient.to(x.dtype), x, kernel, None, stride, padding, dilation, False, [0, 0], groups,
            [*ctx.needs_input_grad[:2], False],
        )  # fmt: skip
        of_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        floats = (None if g is None else g.to(gradient.dtype) for g in (of_x, of_kernel))
        return (*floats, of_bias, None, None, None, None)


class _Requantization(torch.autograd.Function):
    """`clamp(round(sums * multiplier) + zero_point)` in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, multiplier: Tensor, zero_point: int) -> Tensor:
        codes = (sums * multiplier).round_().add_(zero_point)
        if any(ctx.needs_input_grad):
            inside = (codes >= LOWEST) & (codes <= HIGHEST)
            kept = sums if ctx.needs_input_grad[1] else None
            ctx.save_for_backward(inside, multiplier, kept)
        return codes.clamp_(LOWEST, HIGHEST)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:  # type: ignore[override]
        inside, multiplier, sums = ctx.saved_tensors
        gradient = gradient * inside
        of_multiplier = None if sums is None else (gradient * sums).sum((0, 2, 3), keepdim=True)
        return gradient * multiplier, of_multiplier, None


def _approximate(step: Step, scales: dict[str, Tensor]) -> Tensor:
    """The operator on real numbers, in output codes before rounding."""
    node, inputs = step.node, iter(step.inputs)
    args = list(step.args)
    for position, source in enumerate(node.args):
        if isinstance(source, fx.Node) and source.name in scales:
            real = (args[position] - next(inputs).zero_point) * scales[source.name]
            # The slope of a square root at 0 is infinite; half a step above, it is not.
            steep = is_call(node, aten.sqrt.default)
            args[position] = real.clamp(min=step.inputs[0].scale / 2) if steep else real
    real = node.target(*args)  # type: ignore[operator]
    codes: Tensor = real / scales[node.name] + step.output.zero_point
    return codes.clamp(LOWEST - 0.5, HIGHEST + 0.5)


def _settle(value: Tensor, codes: Tensor, step: Tensor) -> None:
    """Move each number that rounds to another code to the middle of its own; in place.

    Adaptive rounding or a corrected bias chose other codes than the nearest. At the edge of such a
    code the first step of training would undo the choice, and with it what all others make up for.
    """
    step = step.double().reshape(-1, *[1] * (value.dim() - 1))
    exact = codes.double()
    clipped = (codes.abs() == 127) & (value / step * exact.sign() > 127) & (value.dim() > 1)
    moved = (torch.round(value / step) != exact) & ~clipped
    value.copy_(torch.where(moved, exact * step, value.double()))


def _source(conv: fx.Node) -> str:
    x = conv.args[0]
    assert isinstance(x, fx.Node)
    return x.name


def _check_bits(quantized: QuantizedGraph) -> None:
    for node in tensor_nodes(quantized.graph):
        params = quantized.activations.get(node.name)
        if params is None or params.bits != 8:
            kind = "float" if params is None else f"{params.bits} bits"
            raise UnsupportedError(
                f"layer `{layer_of(node)}` ({node.name}) is kept in {kind}; train with all layers "
                "in 8 bits first, then choose which to keep above"
            )

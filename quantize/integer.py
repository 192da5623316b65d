"""The integer reference: what the runtimes compute, in torch, code by code.

Executes a `QuantizedGraph` with the arithmetic of XNNPACK's int8 kernels (LiteRT) as of 2026. ONNX
Runtime computes the same codes wherever `EXACT` says so: there the two formulas agree on every
input, by the choice of scales and slopes that `ptq.py` and `forms.py` make.

Codes are float32 tensors of whole numbers in -128..127: convolutions then run at float speed and
are exact while every partial sum stays below 2^24; where it might not, they run in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from edgesr.quantize.exact import causes
from edgesr.quantize.islands import float_nodes, run_float
from edgesr.quantize.leaky import slope_of
from edgesr.quantize.scheme import HIGHEST, LOWEST, QParams, QuantizedGraph, QWeights
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.data.images import Image
from edgesr.errors import UnsupportedError
from edgesr.graph import is_call, layer_of, tensor_nodes
from edgesr.models.enlarge import rectangle_to_space

aten = torch.ops.aten

EXACT_LIMIT = 2**24
"""float32 counts whole numbers up to here."""


@dataclass(frozen=True)
class Step:
    """One operator: its node, the quantization around it, and its evaluated arguments."""

    node: fx.Node
    args: tuple[Any, ...]
    """As in the graph, tensors replaced by their codes."""
    inputs: list[QParams]
    """Of the tensor arguments, in order."""
    output: QParams
    weights: QWeights | None = None


Kernel = Callable[[Step], Tensor]


def run(quantized: QuantizedGraph, image: Image) -> Image:
    """Enlarge an image as the int8 artifact does. uint8 HxWxC in, uint8 sHxsWxC out."""
    found = execute(quantized, _input_codes(image))
    pixels = (found[0] - LOWEST).to(torch.uint8).permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())


def codes(quantized: QuantizedGraph, image: Image) -> dict[str, Tensor]:
    """The int8 codes of every tensor, NCHW, by node name.

    Raises:
        UnsupportedError: an operator has no integer formula; names it and its layer.
    """
    values: dict[str, Tensor] = {}
    execute(quantized, _input_codes(image), values.__setitem__)
    return values


def _input_codes(image: Image) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return pixels.float() + LOWEST


def execute(
    quantized: QuantizedGraph, x: Tensor, visit: Callable[[str, Tensor], object] | None = None
) -> Tensor:
    """Run the graph on input codes (float32, whole numbers) and return the output's.

    Args:
        visit: called with name and codes of every tensor; without it, codes that nothing reads
            any more are dropped.
    """
    check(quantized.graph)
    floating = float_nodes(quantized)
    kernels, is_wide = KERNELS, quantized.precision == "int16x8"
    if is_wide:
        from edgesr.quantize import wide  # which is made of this module

        kernels, x = wide.KERNELS, wide.input_codes(x)

    class Runner(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            if n.name in floating:
                result = run_float(quantized, n, *self.fetch_args_kwargs_from_env(n))
            elif n.op == "call_function" and n.target in kernels:
                result = kernels[n.target](self._step(n))
            else:
                result = super().run_node(n)
            if visit is not None and n.name in quantized.activations and n.op != "output":
                visit(n.name, result)
            return result

        def _step(self, n: fx.Node) -> Step:
            args, _ = self.fetch_args_kwargs_from_env(n)
            known = quantized.activations
            inputs = [known[m.name] for m in nodes_in(n.args) if m.name in known]
            return Step(n, args, inputs, known[n.name], quantized.weights.get(n.name))

    with torch.inference_mode():
        output: Tensor = Runner(quantized.graph).run(x)
    return wide.output_codes(quantized, output) if is_wide else output


def check(graph: fx.GraphModule) -> None:
    """Raise `UnsupportedError` for the first operator without a formula."""
    for node in tensor_nodes(graph):
        if node.op == "call_function" and node.target not in KERNELS:
            raise UnsupportedError(
                f"layer `{layer_of(node)}` ({node.name}): {node.target} has no int8 form; "
                "export in fp32 or fp16, or rewrite the layer"
            )


def is_exact(quantized: QuantizedGraph) -> bool:
    """Whether all runtimes with these kernels agree on every code of this graph."""
    return not causes(quantized)


def tolerance(quantized: QuantizedGraph, target: str) -> float:
    """Largest difference from the reference that a target explains, in output codes.

    LiteRT computes the formulas here, ONNX Runtime the same codes unless `causes` names an
    operator: nothing may differ. OpenVINO rescales sums of products in float, so that each
    convolution may be one code off where a value lies near a half; so may every operator of
    `causes` and every island of floats. Later layers carry that on, a leaky ReLU with a wide input
    by a dozen codes at once: plain-m-x3 with 7 convolutions ends 1 code away in OpenVINO, IMDN,
    RLFN and RFDN with some 60 end 16, 36 and 63 away. What no runtime explains is that few pixels
    are equal: see `least_identical`.
    """
    sources = _sources(quantized, target)
    if not sources:
        return 0
    return 4 if sources <= SHALLOW else 1.5 * sources


def least_identical(quantized: QuantizedGraph, target: str) -> float:
    """Share of output codes that equal the reference's at least, if nothing is broken.

    A wrong zero point or scale anywhere shifts most pixels, if only by one code; a value near a
    half shifts one pixel. OpenVINO, measured: plain-m-x3 0.9999, published RLFN, RFDN and IMDN
    0.22 to 0.28, where this says little: convolutions spread a difference over all channels. A zero
    point off by one in any of plain-m-x3's convolutions leaves 0.00 to 0.91, three codes off at
    most: it is this share that tells.
    """
    sources = _sources(quantized, target)
    if not sources:
        return 1.0
    return 0.95 if sources <= SHALLOW else 0.1


SHALLOW = 12
"""Convolutions up to which OpenVINO is nearly exact."""


def _sources(quantized: QuantizedGraph, target: str) -> int:
    """Operators at which this target may be a code off."""
    found = causes(quantized)
    if target == "openvino":
        return len(found.keys() | quantized.weights.keys())
    if target == "tflite":  # the reference is XNNPACK; other kernels of LiteRT run these
        others = ("computed in float", "sqrt", "leaky_relu: a factor below")
        return sum(cause.startswith(others) for cause in found.values())
    return len(found)


# --- kernels --------------------------------------------------------------------------------


def _saturate(fresh: Tensor, zero_point: int) -> Tensor:
    """In place: whole feature maps pass through here."""
    return fresh.add_(zero_point).clamp_(LOWEST, HIGHEST)


def _float32(*factors: float) -> Tensor:
    return torch.tensor(factors, dtype=torch.float32)


def convolution(step: Step) -> Tensor:
    """`round(float32(sum) * m)`, m = float32(float32(s_in s_w) / s_out); half to even."""
    x, weights = step.args[0] - step.inputs[0].zero_point, step.weights
    assert weights is not None
    _, _, _, stride, padding, dilation, groups = step.args
    dtype = torch.float32 if largest_sum(weights, step.inputs[0]) < EXACT_LIMIT else torch.float64
    kernel, bias = weights.weight.to(dtype), weights.bias.to(dtype)
    sums = F.conv2d(x.to(dtype), kernel, bias, stride, padding, dilation, groups)
    s_in, s_out = _float32(step.inputs[0].scale, step.output.scale)
    multiplier = (s_in * weights.scale / s_out).reshape(1, -1, 1, 1)
    return _saturate(sums.float().mul_(multiplier).round_(), step.output.zero_point)


def largest_sum(weights: QWeights, source: QParams) -> float:
    """Bound of every partial sum of a convolution."""
    reach = max(HIGHEST - source.zero_point, source.zero_point - LOWEST)
    per_channel = weights.weight.double().abs().flatten(1).sum(1) * reach + weights.bias.abs()
    return float(per_channel.max())


def addition(step: Step) -> Tensor:
    """Fixed point with multipliers of 21 bits, halves up (XNNPACK's qs8-vadd). Fits 32 bits."""
    first, second = step.inputs
    scales = _float32(first.scale, second.scale) / _float32(step.output.scale)
    shift = 20 - (math.frexp(float(scales.max()))[1] - 1)
    times_a, times_b = (int(m) for m in torch.round(scales.double() * 2.0**shift))
    if is_call(step.node, aten.sub.Tensor):
        times_b = -times_b
    rounding = (1 << (shift - 1)) - first.zero_point * times_a - second.zero_point * times_b
    a, b = (value.to(torch.int32) for value in step.args[:2])
    total = a * times_a + b.mul_(times_b).add_(rounding)
    return _saturate((total >> shift).float(), step.output.zero_point)


def multiplication(step: Step) -> Tensor:
    """`round(a b m)`, m = float32(float32(s_a s_b) / s_out). On arm64 in fixed point: <= 1 off."""
    a, b = (v - q.zero_point for v, q in zip(step.args[:2], step.inputs, strict=True))
    s_a, s_b, s_out = _float32(*(q.scale for q in step.inputs), step.output.scale)
    return _saturate(torch.round(a * b * (s_a * s_b / s_out)), step.output.zero_point)


def clip(step: Step) -> Tensor:
    """ReLU and clamp: bounds as codes; codes beyond them are pulled in."""
    low, high = clip_codes(step.node, step.output)
    x: Tensor = step.args[0]
    return x if (low, high) == (LOWEST, HIGHEST) else x.clamp(low, high)


def clip_codes(node: fx.Node, params: QParams) -> tuple[int, int]:
    """The smallest and largest code a ReLU or clamp lets through."""
    low, high = (0.0, None) if is_call(node, aten.relu.default) else node.args[1:3]
    least, most = params.codes
    lowest = least if low is None or math.isinf(low) else params.code_of(low)  # type: ignore[arg-type]
    highest = most if high is None or math.isinf(high) else params.code_of(high)  # type: ignore[arg-type]
    return min(max(lowest, least), most), max(min(highest, most), least)


def leaky_relu(step: Step) -> Tensor:
    """Multipliers of 8 fractional bits for both branches, halves up (XNNPACK's qs8-vlrelu)."""
    x = step.args[0] - step.inputs[0].zero_point
    s_in, s_out = _float32(step.inputs[0].scale, step.output.scale)
    ratio = s_in / s_out
    above = float(torch.round(ratio * 256))
    below = float(torch.round(ratio * _float32(slope_of(step.node)) * 256))
    product = x * torch.where(x > 0, above, below)
    return _saturate(torch.floor((product + 128) / 256), step.output.zero_point)


def lookup(function: Callable[[Tensor], Tensor]) -> Kernel:
    """A function of one value: float32 in between, as the runtimes fill their tables."""

    def kernel(step: Step) -> Tensor:
        s_in, s_out = _float32(step.inputs[0].scale, step.output.scale)
        real = (step.args[0] - step.inputs[0].zero_point) * s_in
        return _saturate(torch.round(function(real) * (1 / s_out)), step.output.zero_point)

    return kernel


def root(step: Step) -> Tensor:
    """Square root, rounded down (TFLite's table); other runtimes round to nearest."""
    s_in, s_out = _float32(step.inputs[0].scale, step.output.scale)
    real = ((step.args[0] - step.inputs[0].zero_point) * s_in).clamp(min=0)
    return _saturate(torch.floor(torch.sqrt(real) / s_out), step.output.zero_point)


def mean(step: Step) -> Tensor:
    """`round(sum * m)`, m = float32(float32(s_in / s_out) / count) (XNNPACK's qs8-rdsum)."""
    x = step.args[0] - step.inputs[0].zero_point
    dims, keep = step.args[1], bool(step.args[2:] and step.args[2])
    total = x.double().sum(dims, keepdim=keep)
    s_in, s_out = _float32(step.inputs[0].scale, step.output.scale)
    multiplier = (s_in / s_out) * (1 / _float32(x.numel() / total.numel()))
    return _saturate(torch.round(total.float() * multiplier), step.output.zero_point)


def bilinear(step: Step) -> Tensor:
    """Weights of 11 bits along each axis, halves up (XNNPACK's s8-ibilinear)."""
    x, size, aligned, factors = step.args
    height, width = size or [math.floor(n * f) for n, f in zip(x.shape[2:], factors, strict=True)]
    upper, lower, down = _taps(x.shape[2], height, aligned)
    left, right, across = _taps(x.shape[3], width, aligned)
    rows = x.to(torch.int64)
    top, bottom = rows[:, :, upper], rows[:, :, lower]
    top = (top[..., left] << 11) + (top[..., right] - top[..., left]) * across
    bottom = (bottom[..., left] << 11) + (bottom[..., right] - bottom[..., left]) * across
    total = (top << 11) + (bottom - top) * down[:, None]
    codes: Tensor = (total + (1 << 21)) >> 22
    return codes.float()


def _taps(source: int, size: int, aligned: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Both neighbours of every output position along an axis, and the second one's weight."""
    index = torch.arange(size, dtype=torch.float32)
    if aligned:
        position = index * (_float32(source - 1) / _float32(max(size - 1, 1)))
    else:
        position = (index + 0.5) * (_float32(source) / _float32(size)) - 0.5
    position = position.clamp(0, source - 1)
    first = position.to(torch.int64)
    second = (first + 1).clamp(max=source - 1)
    return first, second, torch.round((position - first) * 2048).to(torch.int64)


def pad(step: Step) -> Tensor:
    """Zeros are the zero point; reflections and replicas are copies."""
    x, sides, mode, value = step.args
    if mode == "constant":
        return F.pad(x, sides, value=step.output.code_of(value or 0.0))
    return F.pad(x, sides, mode=mode)


def move(step: Step) -> Tensor:
    """Anything that copies or compares codes is the same operator on codes."""
    result: Tensor = step.node.target(*step.args)  # type: ignore[operator]
    return result


KERNELS: dict[Any, Kernel] = {
    aten.conv2d.default: convolution,
    aten.add.Tensor: addition,
    aten.sub.Tensor: addition,
    aten.mul.Tensor: multiplication,
    aten.relu.default: clip,
    aten.clamp.default: clip,
    aten.leaky_relu.default: leaky_relu,
    aten.sigmoid.default: lookup(torch.sigmoid),
    aten.tanh.default: lookup(torch.tanh),
    aten.sqrt.default: root,
    aten.mean.dim: mean,
    aten.upsample_bilinear2d.vec: bilinear,
    aten.pad.default: pad,
    aten.max_pool2d.default: move,
    aten.upsample_nearest2d.vec: move,
    aten.cat.default: move,
    aten.slice.Tensor: move,
    aten.maximum.default: move,
    aten.minimum.default: move,
    aten.pixel_shuffle.default: move,
    aten.pixel_unshuffle.default: move,
    depth_to_space: move,
    space_to_depth: move,
    rectangle_to_space: move,
}
"""Every operator with an int8 form."""

EXACT = tuple(
    target
    for target, kernel in KERNELS.items()
    if kernel in (convolution, addition, clip, move, pad, mean, bilinear)
)
"""The same codes in LiteRT and ONNX Runtime whatever the scales. The others agree by the choice of
scales (`exact.py`); `causes` names those of a graph that do not."""


def nodes_in(args: Any) -> list[fx.Node]:
    """The nodes among an operator's arguments, in order, as often as they stand there."""
    found: list[fx.Node] = []
    fx.node.map_arg(args, lambda node: found.append(node))
    return found

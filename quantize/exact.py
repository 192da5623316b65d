"""Which operators compute the same codes everywhere, and the choice of scales that makes them.

Runtimes compute the same real number along different roads (fixed point of 21 bits, float32 in
another order, a table) and then round. They agree on every code where no possible value lies near
a half: further away than the roads lie apart. `settle` chooses scales so that this holds, `causes`
checks it on the final numbers, whoever chose them.

| operator      | why runtimes differ                           | what makes them agree           |
|---------------|-----------------------------------------------|---------------------------------|
| add, sub      | fixed point of 21 bits (XNNPACK), float       | odd multiples, see `scales.py`  |
| mul           | floats in another order; fixed point on arm64 | s_a s_b / s_out = p / q, q odd  |
| sigmoid, tanh | different approximations of exp               | s_in with no entry near a half  |
| sqrt          | LiteRT rounds down, others to nearest         | s_in with no entry near a whole |
| leaky_relu    | factors of 8 bits, halves up (XNNPACK)        | see `leaky.py`                  |
| avg_pool      | halves away from zero (LiteRT), to even       | a convolution, see `forms.py`   |
| mean          | floats are added in another order             | whole numbers, in ONNX too      |
| bilinear      | weights of 11 bits (XNNPACK), or floats       | `export/onnx/whole.py`          |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt
import torch
from edgesr.quantize import leaky
from edgesr.quantize.islands import float_nodes
from edgesr.quantize.scheme import HIGHEST, LOWEST, QParams, QuantizedGraph
from edgesr.quantize.ties import Groups
from torch import fx

from edgesr.graph import is_call, tensor_nodes

aten = torch.ops.aten
Reals = npt.NDArray[np.float64]

TABLE_CLEARANCE = 1e-3
"""Distance in codes that `settle` keeps between table entries and a half (or a whole)."""
LARGEST_DIVISOR = 509
"""Of a product's p / q: a half is at least 1 / 2q codes away, float32 errs by 1e-4."""

SMALLEST_MULTIPLE = 1 / 255
"""XNNPACK takes products with s_a s_b / s_out below 256."""

_TABLES: dict[object, Callable[[Reals], Reals]] = {
    aten.sigmoid.default: lambda x: (1 + np.tanh(x / 2)) / 2,
    aten.tanh.default: np.tanh,
    aten.sqrt.default: lambda x: np.sqrt(np.maximum(x, 0)),
}
_SUMS = (aten.add.Tensor, aten.sub.Tensor)


# --- checking -------------------------------------------------------------------------------


def causes(quantized: QuantizedGraph) -> dict[str, str]:
    """Operators on which runtimes may differ by a code, by node name, and why."""
    found = dict.fromkeys(float_nodes(quantized), "computed in float")
    for node in tensor_nodes(quantized.graph):
        if node.op != "call_function" or node.name in found:
            continue
        if quantized.activations[node.name].bits != 8:
            found[node.name] = "16 bits: kernels of their own"
        else:
            cause = _cause(node, quantized.activations)
            if cause:
                found[node.name] = cause
    return found


def _cause(node: fx.Node, known: dict[str, QParams]) -> str:
    if not is_call(node, *_SUMS, aten.mul.Tensor, aten.leaky_relu.default, *_TABLES):
        return ""
    tensors = [x for x in node.args[:2] if isinstance(x, fx.Node)]
    inputs, output = [known[x.name] for x in tensors], known[node.name]
    kind = str(node.target).split(".")[-2]
    if is_call(node, aten.leaky_relu.default):
        return _leaky_cause(node, inputs[0], output)
    if is_call(node, *_TABLES):
        (source,) = inputs
        near, allowed = _table_clearance(node.target, source, output), TABLE_CLEARANCE / 2
    elif is_call(node, aten.mul.Tensor):
        near, allowed = _product_clearance(inputs, output, node.args[0] is node.args[1])
    else:
        near, allowed = _sum_clearance(inputs, output)
    if near > allowed:
        return ""
    return f"{kind}: a value lies {near:.1g} codes from where rounding turns"


def _leaky_cause(node: fx.Node, source: QParams, output: QParams) -> str:
    """Both factors must be 256ths, nudged to the side on which XNNPACK rounds halves."""
    ratio = source.scale / output.scale * leaky.STEPS
    for factor in (ratio, ratio * leaky.slope_of(node)):
        if abs(factor) < 1:
            return "leaky_relu: a factor below 2^-8, which XNNPACK does not take"
        if abs(factor - round(factor)) > 4 * leaky.NUDGE * abs(factor):
            return "leaky_relu: a factor of over 8 fractional bits"
    return ""


def _offsets(params: QParams) -> Reals:
    """Every code less the zero point."""
    return np.arange(LOWEST, HIGHEST + 1, dtype=np.float64) - params.zero_point


def _from_half(values: Reals) -> Reals:
    return np.abs(values - np.floor(values) - 0.5)


def _least(distances: Reals) -> float:
    return float(distances.min()) if distances.size else 0.5


def _inside(values: Reals, output: QParams) -> npt.NDArray[np.bool_]:
    """Where the result does not saturate anyway."""
    return (values > LOWEST - 1 - output.zero_point) & (values < HIGHEST + 1 - output.zero_point)


def _sum_clearance(inputs: list[QParams], output: QParams) -> tuple[float, float]:
    """Least distance of a sum from a half, and by how much the fixed-point form may err."""
    a, b = (q.scale / output.scale for q in inputs)
    values = _offsets(inputs[0])[:, None] * a + _offsets(inputs[1]) * b
    difference = _offsets(inputs[0])[:, None] * a - _offsets(inputs[1]) * b
    near = min(_least(_from_half(v)[_inside(v, output)]) for v in (values, difference))
    shift = 20 - math.floor(math.log2(max(a, b)))
    return near, 255 / 2.0**shift + 255 * (a + b) * 2.0**-22


def _product_clearance(inputs: list[QParams], output: QParams, square: bool) -> tuple[float, float]:
    """Least distance of a product from a half, and by how much float32 may err."""
    ratio = inputs[0].scale * inputs[1].scale / output.scale
    a, b = (_offsets(q) for q in inputs)
    values = (a * a if square else np.outer(a, b)) * ratio
    return _least(_from_half(values)[_inside(values, output)]), 2e-4


def _table_clearance(target: object, source: QParams, output: QParams) -> float:
    values = _TABLES[target](_offsets(source) * source.scale) / output.scale
    return _clearance(target, values[_inside(values, output)])


def _clearance(target: object, values: Reals) -> float:
    """From where rounding turns: a half, for square roots (rounded down) a whole number."""
    if target is not aten.sqrt.default:
        return _least(_from_half(values))
    positive = values[values > 0]
    return _least(np.abs(positive - np.rint(positive)))


def leaky_groups(graph: fx.GraphModule, groups: Groups) -> set[str]:
    """Groups whose ratio `leaky.align` has chosen."""
    nodes = [n for n in tensor_nodes(graph) if is_call(n, aten.leaky_relu.default)]
    ends = [x for node in nodes for x in (node, node.args[0])]
    return {groups.find(x.name) for x in ends}  # type: ignore[union-attr, arg-type]


# --- choosing -------------------------------------------------------------------------------


def settle(
    graph: fx.GraphModule, groups: Groups, scales: dict[str, float], fixed: Collection[str]
) -> None:
    """Move scales up, by a percent at most, so that products and tables agree everywhere.

    Args:
        groups: tensors that share a scale.
        scales: by group; changed in place.
        fixed: groups whose scale must stay: pixels, operands of sums, prescribed outputs.
    """
    taken = set(fixed)
    nodes = [node for node in tensor_nodes(graph) if node.op == "call_function"]
    for node in nodes:
        if is_call(node, *_TABLES):
            source, output = groups.find(node.args[0].name), groups.find(node.name)  # type: ignore[union-attr, arg-type]
            _settle_table(node.target, source, output, scales, taken)
            taken.update((source, output))
    for node in reversed(nodes):  # a product whose result is fixed moves its operands
        if is_call(node, aten.mul.Tensor):
            first, second = (groups.find(x.name) for x in node.args[:2])  # type: ignore[union-attr, arg-type]
            output = groups.find(node.name)
            _settle_product(first, second, output, scales, taken)
            taken.update((first, second, output))


def _settle_table(
    target: object, source: str, output: str, scales: dict[str, float], taken: set[str]
) -> None:
    movable = next((group for group in (source, output) if group not in taken), None)
    if movable is None:
        return
    offsets = np.arange(LOWEST - HIGHEST, HIGHEST - LOWEST + 1, dtype=np.float64)
    for scale in _upwards(scales[movable]):
        tried = {**scales, movable: scale}
        values = _TABLES[target](offsets * float(np.float32(tried[source])))
        values = values / float(np.float32(tried[output]))
        if _clearance(target, values[np.abs(values) < 256]) > TABLE_CLEARANCE:
            scales[movable] = scale
            return


def _upwards(scale: float) -> Iterator[float]:
    for step in range(100):
        yield scale * (1 + step / 4096)


def _settle_product(
    first: str, second: str, output: str, scales: dict[str, float], taken: set[str]
) -> None:
    """Bring `s_a s_b / s_out` to p / q with q odd: `2 a b p = q * odd` has no solution."""
    if output not in taken and output not in (first, second):
        unit = scales[first] * scales[second]
        multiple = max(scales[output] / unit, SMALLEST_MULTIPLE)
        p = max(1, math.floor(LARGEST_DIVISOR / multiple))
        q = math.ceil(multiple * p - 1e-9) | 1
        scales[output] = unit * q / p
        return
    movable = next((g for g in (first, second) if g not in taken and g != output), None)
    if movable is None:
        return
    multiple = scales[output] / (scales[first] * scales[second])
    p = max(1, math.floor(LARGEST_DIVISOR / multiple))
    q = max(1, (math.floor(multiple * p + 1e-9) - 1) | 1)
    factor = multiple * p / q
    scales[movable] *= math.sqrt(factor) if first == second else factor

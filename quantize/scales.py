"""Ranges in, scales out: the rules every set of scales obeys.

Activations are asymmetric per tensor and represent 0 exactly; image in and out are pinned to
1/255, so that codes are pixels and 0 and 255 are reachable. What one operator only moves shares a
scale (`ties.py`).

Sums get one more constraint. A runtime computes `(A a + B b) / C` in fixed point, another in
float: they differ where the exact value lies near a half. With C odd it never does, whatever A
and B: `2 (A a + B b) = C * odd` has no solution, and the distance to a half is at least 1 / 2C
codes. So all scales that meet in additions are odd multiples, up to 511, of a common unit;
the nearest half is then four times as far as XNNPACK's 21-bit multipliers err. Products and tables
have rules of the same kind (`exact.py`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from edgesr.quantize import leaky
from edgesr.quantize.exact import leaky_groups, settle
from edgesr.quantize.scheme import HIGHEST, LOWEST, QParams
from edgesr.quantize.ties import CLIPS, Groups, is_moving, moved_inputs, tie
from torch import fx

from edgesr.errors import UnsupportedError
from edgesr.graph import constant_of, input_of, is_call, layer_of, output_of, tensor_nodes
from edgesr.network import Network

aten = torch.ops.aten

SUMS = (aten.add.Tensor, aten.sub.Tensor)
LARGEST_MULTIPLE = 511
SMALLEST_MULTIPLE = 3
"""XNNPACK takes scale ratios of an addition in [2^-10, 2^8)."""
FIXED = {aten.sigmoid.default: QParams(1 / 256, LOWEST), aten.tanh.default: QParams(1 / 128, 0)}
"""Output quantization that TFLite prescribes."""

_STEEP = {aten.sigmoid.default: math.log(511), aten.tanh.default: math.atanh(127.5 / 128)}
"""Beyond this, on both sides, nothing but the last code comes out."""

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest value of every tensor, by node name."""


def choose_scales(graph: fx.GraphModule, network: Network, ranges: Ranges) -> dict[str, QParams]:
    """Scale and zero point of every tensor, by node name.

    Args:
        ranges: smallest and largest value of every tensor, as observed.
    """
    groups = tie(graph)
    pinned = _pins(graph, network, groups)
    spans = _spans(graph, groups, _visible(graph, groups, pinned, ranges))
    _check_pins(graph, groups, pinned, spans)
    scales = {root: _scale(*span, network) for root, span in spans.items()}
    scales |= {root: params.scale for root, params in pinned.items()}
    for _ in range(3):  # a sum may widen what a convolution reads, and the other way round
        _widen_for_multipliers(graph, groups, scales, pinned)
        families = _align_sums(graph, groups, scales, pinned)
    leaky.align(graph, groups, scales, families, set(pinned))
    bound = {name for members in families for name in members} | set(pinned)
    settle(graph, groups, scales, bound | leaky_groups(graph, groups))
    _check_products(graph, groups, scales)
    params = {
        root: pinned.get(root) or QParams(_float32(scale), _zero_point(spans[root], scale))
        for root, scale in scales.items()
    }
    return {node.name: params[groups.find(node.name)] for node in tensor_nodes(graph)}


def _pins(graph: fx.GraphModule, network: Network, groups: Groups) -> dict[str, QParams]:
    """Groups whose quantization is prescribed."""
    pixels = QParams(_float32(network.value_range / 255), LOWEST)
    wanted = [(input_of(graph), pixels)]
    wanted += [(n, FIXED[n.target]) for n in tensor_nodes(graph) if is_call(n, *FIXED)]  # type: ignore[index]
    wanted.append((output_of(graph), pixels))
    pinned: dict[str, QParams] = {}
    for node, params in wanted:
        if pinned.setdefault(groups.find(node.name), params) != params:
            raise UnsupportedError(
                f"layer `{layer_of(node)}` ({node.name}) fixes the scale of its output, and the "
                "layers after it pass that on to a tensor with another fixed scale; put a 1x1 "
                "convolution between them"
            )
    return pinned


def _visible(
    graph: fx.GraphModule, groups: Groups, pinned: dict[str, QParams], ranges: Ranges
) -> Ranges:
    """Ranges less what saturates anyway: of `a + b = pixels`, values of a beyond pixels - b; of
    `sigmoid(a)`, values of a where the sigmoid has reached its last code."""
    visible = dict(ranges)
    for node in tensor_nodes(graph):
        result = pinned.get(groups.find(node.name))
        if is_call(node, *_STEEP):
            (x,), end = node.all_input_nodes, _STEEP[node.target]  # type: ignore[index]
            if len(x.users) == 1:
                visible[x.name] = (max(-end, ranges[x.name][0]), min(end, ranges[x.name][1]))
        if result is None or not is_call(node, *SUMS):
            continue
        a, b = (x for x in node.args[:2] if isinstance(x, fx.Node))
        (a_low, a_high), (b_low, b_high) = ranges[a.name], ranges[b.name]
        if is_call(node, aten.add.Tensor):
            of_a = (result.lowest - b_high, result.highest - b_low)
            of_b = (result.lowest - a_high, result.highest - a_low)
        else:
            of_a = (result.lowest + b_low, result.highest + b_high)
            of_b = (a_low - result.highest, a_high - result.lowest)
        for x, (low, high) in ((a, of_a), (b, of_b)):
            if len(x.users) == 1:
                visible[x.name] = (max(low, ranges[x.name][0]), min(high, ranges[x.name][1]))
    return visible


def _spans(graph: fx.GraphModule, groups: Groups, ranges: Ranges) -> Ranges:
    """Range of every group: what its tensors take, less what a clip removes at once, and zero."""
    spans: Ranges = {}
    for node in tensor_nodes(graph):
        users = [user for user in node.users if user.op != "output"]
        low, high = ranges[node.name]
        if users and all(is_call(user, *CLIPS) for user in users):
            low = high = 0.0
        known = spans.get(groups.find(node.name), (0.0, 0.0))
        spans[groups.find(node.name)] = (min(low, known[0]), max(high, known[1]))
    return spans


def _check_pins(
    graph: fx.GraphModule, groups: Groups, pinned: dict[str, QParams], spans: Ranges
) -> None:
    """Refuse to squeeze features into the range of pixels."""
    for node in tensor_nodes(graph):
        params = pinned.get(groups.find(node.name))
        if params is None or all(user.op == "output" for user in node.users):
            continue
        low, high = spans[groups.find(node.name)]
        fits = low >= params.lowest - 2 * params.scale and high <= params.highest + 2 * params.scale
        readers = [u for u in node.users if u.op != "output" and not _shares(graph, u, node)]
        if readers and not fits:
            raise UnsupportedError(
                f"layer `{layer_of(node)}` ({node.name}) shares its scale with pixels but takes "
                f"values in [{low:.3g}, {high:.3g}]; put a 1x1 convolution between them"
            )


def _shares(graph: fx.GraphModule, user: fx.Node, node: fx.Node) -> bool:
    return user.op == "call_function" and is_moving(graph, user) and node in moved_inputs(user)


def _scale(low: float, high: float, network: Network) -> float:
    # A tensor that is zero everywhere still needs a scale; no pixel depends on it.
    return max(high - low, 1e-6 * network.value_range) / (HIGHEST - LOWEST)


def _zero_point(span: tuple[float, float], scale: float) -> int:
    return int(np.clip(np.rint(LOWEST - span[0] / scale), LOWEST, HIGHEST))


def _widen_for_multipliers(
    graph: fx.GraphModule, groups: Groups, scales: dict[str, float], pinned: dict[str, QParams]
) -> None:
    """Keep `scale_in * scale_w / scale_out` of every convolution below the 256 XNNPACK allows."""
    for node in tensor_nodes(graph):
        root = groups.find(node.name)
        if is_call(node, aten.conv2d.default) and root not in pinned:
            x, weight = node.args[0], constant_of(graph, node.args[1])
            if weight is not None and isinstance(x, fx.Node):
                step = scales[groups.find(x.name)] * float(weight.abs().max()) / 127
                scales[root] = max(scales[root], step / 128)


def _check_products(graph: fx.GraphModule, groups: Groups, scales: dict[str, float]) -> None:
    """Refuse products whose ratio of scales XNNPACK does not take: it would not load the file."""
    for node in tensor_nodes(graph):
        if is_call(node, aten.mul.Tensor):
            first, second = (scales[groups.find(x.name)] for x in node.args[:2])  # type: ignore[union-attr, arg-type]
            ratio = first * second / scales[groups.find(node.name)]
            if not 2.0**-16 <= ratio < 256:
                raise UnsupportedError(
                    f"layer `{layer_of(node)}` ({node.name}): the product of its operands' steps "
                    f"is {ratio:.3g} of its result's step, and int8 kernels take 2^-16 to 256; "
                    "one operand is zero everywhere, or far larger than its photos show"
                )


def _align_sums(
    graph: fx.GraphModule, groups: Groups, scales: dict[str, float], pinned: dict[str, QParams]
) -> list[list[str]]:
    """Make the scales that meet in sums odd multiples of a common unit, never smaller.

    Returns:
        The groups that meet.
    """
    families = Groups(list(scales))
    for node in tensor_nodes(graph):
        if is_call(node, *SUMS):
            for x in node.all_input_nodes:
                if x.op != "get_attr":
                    families.join(groups.find(x.name), groups.find(node.name))
    meeting = [members for members in families.all().values() if len(members) > 1]
    for members in meeting:
        _align(members, scales, pinned)
    return meeting


def _align(members: list[str], scales: dict[str, float], pinned: dict[str, QParams]) -> None:
    largest = max(scales[m] for m in members)
    fixed = next((scales[m] for m in members if m in pinned), largest)
    share = int(LARGEST_MULTIPLE * fixed / largest) | 1
    unit = fixed / min(max(share, SMALLEST_MULTIPLE), LARGEST_MULTIPLE)
    for member in members:
        if member not in pinned:
            multiple = int(np.ceil(scales[member] / unit - 1e-6)) | 1
            scales[member] = max(multiple, SMALLEST_MULTIPLE) * unit


def _float32(value: float) -> float:
    return float(np.float32(value))

"""Figures of every layer, from the float graph and the integer graph run on the same tiles.

SQNR is `10 log10(sum y^2 / sum (y - q)^2)` over all examined tiles, y in float:

- *alone*: q is this one layer quantized, fed with float: integer weights, float sums, codes out;
- *accumulated*: q is what the integer graph holds here, with every error made before.

Saturation counts values beyond the codes' range by more than half a step. An operand of a sum is
judged where the sum itself stays in range: values that would leave the picture may be cut early
(`scales.py` does so on purpose).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from edgesr.quantize.doctor.diagnosis import Histogram, LayerFigures
from edgesr.quantize.doctor.places import SUMS, Place, name_of, readers
from edgesr.quantize.scheme import QParams, QuantizedGraph
from edgesr.quantize.ties import tie
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.graph import constant_of, is_call

aten = torch.ops.aten

FEW_CODES = 8
"""A channel with fewer codes has 3 bits: steps of an eighth of its range are visible."""
BINS = 96
"""Of the histograms in the report: as many as a phone shows."""
_REACH = 1.5
"""Histograms span this many times the range of the codes."""


@dataclass
class Tally:
    """Sums over tiles for one place."""

    place: Place
    count: int = 0
    power: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Per channel: sum of y^2, float64."""
    noise: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Per channel: sum of (y - alone)^2."""
    noise_accumulated: float = 0.0
    low: Tensor = field(default_factory=lambda: torch.zeros(0))
    high: Tensor = field(default_factory=lambda: torch.zeros(0))
    beyond: int = 0
    judged: int = 0
    bins: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))

    def include(self, y: Tensor, alone: Tensor, accumulated: Tensor | None) -> None:
        """Add a tile. All 1xCxHxW, real values."""
        channels = y.shape[1]
        if not self.count:
            self.power = torch.zeros(channels, dtype=torch.float64)
            self.noise = torch.zeros(channels, dtype=torch.float64)
            self.low = torch.full((channels,), math.inf)
            self.high = torch.full((channels,), -math.inf)
        self.count += y.numel()
        axes = (0, 2, 3)
        self.power += y.double().square().sum(axes)
        self.noise += (y - alone).double().square().sum(axes)
        if accumulated is not None:
            self.noise_accumulated += float((y - accumulated).double().square().sum())
        self.low = torch.minimum(self.low, y.amin(axes))
        self.high = torch.maximum(self.high, y.amax(axes))

    def histogram(self, y: Tensor, params: QParams) -> None:
        """Add a tile to the histogram, which spans a little more than the codes."""
        low, high = _ends(params)
        self.bins += torch.histc(y.float().clamp(low, high), BINS, low, high).double()

    def saturation(self, y: Tensor, params: QParams, visible: Tensor | None = None) -> None:
        """Count what lies beyond the range, among `visible` values."""
        half = params.scale / 2
        out = (y > params.highest + half) | (y < params.lowest - half)
        if visible is not None:
            out &= visible
        self.beyond += int(out.sum())
        self.judged += y.numel() if visible is None else int(visible.sum())


class Observer(fx.Interpreter):
    """Runs the float graph and compares every place with the integer graph's codes."""

    def __init__(self, quantized: QuantizedGraph, tallies: dict[str, Tally]) -> None:
        """`tallies` by node name of the stored tensor."""
        super().__init__(quantized.graph)
        self.quantized, self.tallies = quantized, tallies
        self._sources = {tally.place.source: tally.place for tally in tallies.values()}
        self._codes: dict[str, Tensor] = {}
        self._alone: dict[fx.Node, Tensor] = {}

    def compare(self, x: Tensor, codes: dict[str, Tensor]) -> Tensor:
        """Run `x` in float; `codes` of the stored tensors, by node name. Returns the output."""
        self._codes, self._alone = codes, {}
        with torch.inference_mode():
            output: Tensor = self.run(x)
        return output

    def run_node(self, n: fx.Node) -> object:
        """As the graph says, and measured."""
        result = super().run_node(n)
        if not isinstance(result, Tensor):
            return result
        if n in self._sources:
            args, _ = self.fetch_args_kwargs_from_env(n)
            self._alone[n] = alone_before_rounding(self.quantized, n, args, result)
        if n.name in self.tallies:
            self._measure(n, result)
        if is_call(n, *SUMS):
            self._judge_operands(n, result)
        return result

    def _measure(self, n: fx.Node, y: Tensor) -> None:
        tally, params = self.tallies[n.name], self.quantized.activations.get(n.name)
        exact = through_clips(tally.place, self._alone.pop(tally.place.source))
        codes = self._codes.pop(n.name, None)
        accumulated = None if codes is None or params is None else real(codes, params)
        tally.include(y, exact if params is None else rounded(exact, params), accumulated)
        if params is not None:
            tally.histogram(y, params)
            if _only_sum(n) is None:
                tally.saturation(y, params)

    def _judge_operands(self, n: fx.Node, y: Tensor) -> None:
        params = self.quantized.activations.get(n.name)
        for operand in n.all_input_nodes:
            own = self.quantized.activations.get(operand.name)
            if operand.name in self.tallies and own is not None and _only_sum(operand) is n:
                value = self.env[operand]
                visible = None
                if params is not None:
                    visible = ((y > params.lowest) & (y < params.highest)).expand_as(value)
                self.tallies[operand.name].saturation(value, own, visible)


def alone_before_rounding(
    quantized: QuantizedGraph, node: fx.Node, args: Sequence[Any], result: Tensor
) -> Tensor:
    """What the layer computes from float input with its integer weights, before its output rounds.

    Args:
        args: the node's, evaluated. result: the node's in float, returned for all but convolutions.
    """
    weights = quantized.weights.get(node.name)
    if weights is None:
        return result
    x, _, _, stride, padding, dilation, groups = args
    source = quantized.activations[node.all_input_nodes[0].name]
    kernel = weights.weight.float() * weights.scale.reshape(-1, 1, 1, 1)
    bias = weights.bias.float() * weights.scale * source.scale
    sums: Tensor = F.conv2d(x, kernel, bias, stride, padding, dilation, groups)
    return sums


def through_clips(place: Place, value: Tensor) -> Tensor:
    """What the clips fused to a place leave of its source's value."""
    node = place.source
    while node is not place.node:
        node = next(iter(node.users))
        value = node.target(value, *node.args[1:])  # type: ignore[operator]
    return value


def rounded(y: Tensor, params: QParams) -> Tensor:
    """`y` as its codes can say it."""
    low, high = params.codes
    steps = torch.round(y / params.scale).add_(params.zero_point).clamp_(low, high)
    return steps.sub_(params.zero_point).mul_(params.scale)


def real(codes: Tensor, params: QParams) -> Tensor:
    """The values that codes stand for."""
    return (codes.float() - params.zero_point) * params.scale


class CodeRanges:
    """Smallest and largest code of every tensor, joined over those that share a scale."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self._groups = tie(graph)
        self._seen: dict[str, tuple[int, int]] = {}

    def include(self, name: str, codes: Tensor) -> None:
        """Widen the range of the tensor's group."""
        low, high = (int(bound) for bound in codes.aminmax())
        root = self._groups.find(name)
        known = self._seen.get(root, (low, high))
        self._seen[root] = (min(low, known[0]), max(high, known[1]))

    def used(self, name: str, params: QParams) -> float:
        """Share of the codes between smallest and largest."""
        low, high = self._seen.get(self._groups.find(name), params.codes)
        return (high - low + 1) / (params.codes[1] - params.codes[0] + 1)


def figures(
    quantized: QuantizedGraph,
    tallies: dict[str, Tally],
    codes: CodeRanges,
    impacts: dict[str, float],
    imbalance: float,
) -> tuple[LayerFigures, ...]:
    """Sum up. `impacts`: mean squared output error per place name; `imbalance`: see `widest`."""
    known = [tally.place for tally in tallies.values()]
    whole = sum(impacts.values())
    peak = quantized.network.value_range
    return tuple(
        _figures(quantized, tally, codes, impacts.get(tally.place.name), whole, peak,
                 readers(quantized.graph, tally.place, known), imbalance)
        for tally in tallies.values()
    )  # fmt: skip


def _figures(
    quantized: QuantizedGraph,
    tally: Tally,
    codes: CodeRanges,
    impact: float | None,
    whole: float,
    peak: float,
    followers: tuple[str, ...],
    imbalance: float,
) -> LayerFigures:
    place, params = tally.place, quantized.activations.get(tally.place.node.name)
    spans = (tally.high - tally.low).double()
    if place.fused:  # a channel that is 0.7 everywhere after a ReLU still needs codes up to 0.7
        spans = torch.maximum(tally.high, -tally.low).double() * (spans > 0)
    live = spans > 0
    typical = float(spans[live].median()) if live.any() else 0.0
    narrowest = float(spans[live].min()) if live.any() else 0.0
    widest = float(spans.max())
    step = params.scale if params is not None else 0.0
    alone = [
        _decibel(float(p), float(n))
        for p, n, lives in zip(tally.power, tally.noise, live, strict=True)
        if lives
    ]
    largest, inputs = _weight_ratios(quantized, place.source)
    operands = _operands(quantized, place.source)
    scales = [quantized.activations[n.name].scale for n in operands]
    return LayerFigures(
        name=place.name,
        node=place.node.name,
        kind=place.kind,
        sqnr_alone=_decibel(float(tally.power.sum()), float(tally.noise.sum())),
        sqnr_channels=sorted(alone)[len(alone) // 2] if alone else math.inf,
        sqnr_accumulated=_decibel(float(tally.power.sum()), tally.noise_accumulated),
        impact=None if impact is None else _decibel(peak**2, impact),
        impact_share=impact / whole if impact and whole else 0.0,
        saturation=tally.beyond / tally.judged if tally.judged else 0.0,
        codes_used=1.0 if params is None else codes.used(place.node.name, params),
        range_ratio=widest / typical if typical else 1.0,
        range_ratio_low=typical / narrowest if narrowest else 1.0,
        widest=tuple(int(c) for c in (spans > imbalance * typical).nonzero().flatten()),
        channels=len(spans),
        dead=int((~live).sum()),
        drowned=int((live & (spans < FEW_CODES * step)).sum()),
        gain=_gain(quantized, place, widest),
        skip_ratio=max(scales) / min(scales) if len(scales) > 1 else None,
        skip_operands=tuple(map(name_of, operands)) if len(scales) > 1 else (),
        weight_ratio=largest,
        weight_input_ratio=inputs,
        scale=None if params is None else params.scale,
        zero_point=None if params is None else params.zero_point,
        bits=None if params is None else params.bits,
        readers=followers,
        fused=place.fused,
        histogram=_histogram(tally, params),
    )


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _weight_ratios(quantized: QuantizedGraph, node: fx.Node) -> tuple[float | None, float | None]:
    if not is_call(node, aten.conv2d.default):
        return None, None
    weight = constant_of(quantized.graph, node.args[1])
    if weight is None:
        return None, None
    size = weight.detach().abs()
    return _ratio(size.amax((1, 2, 3))), _ratio(size.amax((0, 2, 3)))


def _ratio(values: Tensor) -> float:
    live = values[values > 0]
    return float(live.max() / live.median()) if len(live) else 1.0


def _operands(quantized: QuantizedGraph, node: fx.Node) -> list[fx.Node]:
    if not is_call(node, *SUMS):
        return []
    return [n for n in node.all_input_nodes if n.name in quantized.activations]


def _gain(quantized: QuantizedGraph, place: Place, widest: float) -> float:
    sources = [quantized.activations.get(n.name) for n in place.source.all_input_nodes]
    spans = [s.highest - s.lowest for s in sources if s is not None]
    return widest / max(spans) if spans else 1.0


def _histogram(tally: Tally, params: QParams | None) -> Histogram:
    if params is None:
        return Histogram(0.0, 0.0, (), 0.0, 0.0)
    low, high = _ends(params)
    counts = tuple(int(count) for count in tally.bins)
    return Histogram(low, high, counts, params.lowest, params.highest)


def _ends(params: QParams) -> tuple[float, float]:
    middle, half = (params.lowest + params.highest) / 2, (params.highest - params.lowest) / 2
    return middle - _REACH * half, middle + _REACH * half


def _only_sum(node: fx.Node) -> fx.Node | None:
    """The sum that is this tensor's only reader."""
    if len(node.users) != 1:
        return None
    user = next(iter(node.users))
    return user if is_call(user, *SUMS) else None

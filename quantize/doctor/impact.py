"""What quantizing one layer alone does to the picture: the figure layers are ranked by.

SQNR inside the network says how much a tensor changed, not whether anyone sees it. So the float
graph is run on a few small patches; then, for each layer, its tensor is replaced by its quantized
form and only what follows is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from edgesr.quantize.doctor.layers import alone_before_rounding, rounded, through_clips
from edgesr.quantize.doctor.places import Place
from edgesr.quantize.doctor.windows import Clock
from edgesr.quantize.scheme import QuantizedGraph
from torch import Tensor, fx

from edgesr.graph import output_of

SIDE = 64
"""LR pixels of a probe: beyond the receptive field of mobile networks."""


def impacts(
    quantized: QuantizedGraph, known: Sequence[Place], probes: Sequence[Tensor], clock: Clock
) -> dict[str, float]:
    """Mean squared error of the output per place name, in squared units of the value range.

    Args:
        probes: network inputs, 1xCxHxW float.

    Returns:
        Places of the first probes only, when the clock runs out.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for probe in probes:
        with torch.inference_mode():
            values = _record(quantized.graph, probe)
            for place in known:
                if clock.left < 0:
                    return {name: sums[name] / counts[name] for name in sums}
                error = _error(quantized, place, probe, values)
                sums[place.name] = sums.get(place.name, 0.0) + error
                counts[place.name] = counts.get(place.name, 0) + 1
    return {name: sums[name] / counts[name] for name in sums}


def _record(graph: fx.GraphModule, x: Tensor) -> dict[fx.Node, Any]:
    values: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            values[n] = super().run_node(n)
            return values[n]

    Recorder(graph).run(x)
    return values


def _error(quantized: QuantizedGraph, place: Place, x: Tensor, values: dict[fx.Node, Any]) -> float:
    params = quantized.activations.get(place.node.name)
    if params is None:
        return 0.0
    result = values[place.source]
    assert isinstance(result, Tensor)
    args: Any = fx.node.map_arg(place.source.args, lambda n: values[n])
    changed = alone_before_rounding(quantized, place.source, args, result)
    changed = through_clips(place, changed)
    # Only what depends on the place runs again; everything else is taken as recorded.
    later = _after(place.node)
    known = {node: value for node, value in values.items() if node not in later}
    known[place.node] = rounded(changed, params)
    output: Tensor = fx.Interpreter(quantized.graph, garbage_collect_values=False).run(
        x, initial_env=known
    )
    reference = values[output_of(quantized.graph)]
    assert isinstance(reference, Tensor)
    peak = quantized.network.value_range
    difference = output.clamp(0, peak) - reference.clamp(0, peak)
    return float(difference.double().square().mean())


def _after(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = list(node.users)
    while waiting:
        user = waiting.pop()
        if user not in found:
            found.add(user)
            waiting += list(user.users)
    return found

"""Ranges chosen by what they do to the output, in dB.

Observers judge a tensor by itself; what a clipped or coarse tensor costs depends on the layers
after it. So the range of every group of tensors is widened and narrowed in turn, and a change is
kept when the output comes nearer to the float network's.
"""

from __future__ import annotations

from typing import Any

import torch
from edgesr.quantize.calibrate import Report, quiet
from edgesr.quantize.observers import Histogram
from edgesr.quantize.scales import Ranges, choose_scales
from edgesr.quantize.scheme import HIGHEST, LOWEST, QParams
from edgesr.quantize.ties import tie
from torch import Tensor, fx

from edgesr.graph import tensor_nodes
from edgesr.network import Network

FACTORS = ((0.75, 0.75), (1.33, 1.33), (0.6, 1.0), (1.0, 0.6), (1.0, 1.33), (1.33, 1.0))
"""What the lower and the upper bound of a range are multiplied by."""


def search_ranges(
    graph: fx.GraphModule,
    network: Network,
    ranges: Ranges,
    seen: dict[str, Histogram],
    batch: Tensor,
    *,
    report: Report = quiet,
) -> Ranges:
    """Ranges at least as good as the given ones on a batch of patches.

    Args:
        graph: in int8 spelling.
        seen: no range grows beyond what was seen.
        batch: network inputs, NxCxHxW; seconds of forward passes per patch and tensor.
    """
    wanted = graph(batch)

    def cost(candidate: Ranges) -> float:
        rounded = _Rounded(graph, choose_scales(graph, network, candidate)).run(batch)
        return float((rounded - wanted).square().mean())

    with torch.inference_mode():
        best, least = ranges, cost(ranges)
        members = list(tie(graph).all().values())
        for done, names in enumerate(members, 1):
            for low, high in FACTORS:
                candidate = best | {
                    name: (
                        max(best[name][0] * low, seen[name].low),
                        min(best[name][1] * high, seen[name].high),
                    )
                    for name in names
                }
                if candidate != best:
                    found = cost(candidate)
                    if found < least:
                        best, least = candidate, found
            report("searching ranges", done, len(members))
    return best


class _Rounded(fx.Interpreter):
    """Float network with activations rounded to their codes."""

    def __init__(self, graph: fx.GraphModule, activations: dict[str, QParams]) -> None:
        super().__init__(graph)
        self._activations = activations
        self._carriers = {node.name for node in tensor_nodes(graph)}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name not in self._carriers:
            return value
        params = self._activations[n.name]
        codes = torch.round(value / params.scale).add_(params.zero_point).clamp_(LOWEST, HIGHEST)
        return codes.sub_(params.zero_point).mul_(params.scale)

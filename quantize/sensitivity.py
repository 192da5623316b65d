"""How much an error in a value moves the output: samples of every tensor, each with a weight.

To first order an error e in a value v changes the output by `J e`, J being the output's derivative
by v, so its power there is `e^2 |J|^2`. `|J|^2` comes from the gradient of the output summed with
random signs, whose square has that expectation (Hutchinson's estimator), for all values of all
tensors in one backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from edgesr.quantize.calibrate import to_input
from torch import Tensor, fx

from edgesr.data.images import Image
from edgesr.graph import tensor_nodes
from edgesr.network import Network

PATCHES = 12
SIDE = 48
"""Of the middle of a patch that is run."""
PROBES = 2
"""Random sign patterns per patch."""
SAMPLES = 504
"""Values kept of each channel."""


@dataclass(frozen=True)
class Samples:
    """Values of one tensor, and what the square of an error in each is worth at the output.

    Both are channels x samples. Errors e in all values of a channel make the output wrong by
    `sum(weights * e^2)` in the mean square per output value.
    """

    values: Tensor
    weights: Tensor


def sample(graph: fx.GraphModule, network: Network, patches: Sequence[Image]) -> dict[str, Samples]:
    """Samples of every feature map, by node name.

    Args:
        graph: in int8 spelling.
        patches: of photos, uint8 HxWx3; `PATCHES` of them, evenly spread, are run.
    """
    count = min(PATCHES, len(patches))
    picked = [patches[len(patches) * k // count] for k in range(count)]
    draw = torch.Generator().manual_seed(0)
    each = SAMPLES // (count * PROBES)
    values: dict[str, list[Tensor]] = {}
    weights: dict[str, list[Tensor]] = {}
    for patch in picked:
        x = to_input(_middle(patch, network.pad_multiple), network)
        for _ in range(PROBES):
            seen = _Recorder(graph)
            with torch.enable_grad():
                y = seen.run(x.clone())
                signs = torch.randint(0, 2, y.shape, generator=draw) * 2 - 1
                (y * signs).sum().backward()
            for name, value in seen.values.items():
                flat, gradient = _by_channel(value.detach()), _gradient(value)
                at = torch.randint(0, flat.shape[1], (each,), generator=draw)
                share = flat.shape[1] / each / (y.numel() * count * PROBES)
                values.setdefault(name, []).append(flat[:, at])
                weights.setdefault(name, []).append(gradient[:, at].square() * share)
    return {k: Samples(torch.cat(values[k], 1), torch.cat(weights[k], 1)) for k in values}


class _Recorder(fx.Interpreter):
    """Keeps every feature map, and lets it keep its gradient."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._carriers = {node.name for node in tensor_nodes(graph)}
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._carriers and isinstance(value, Tensor) and value.dim() == 4:
            if not value.requires_grad:
                value.requires_grad_()
            value.retain_grad()
            self.values[n.name] = value
        return value


def _middle(patch: Image, multiple: int) -> Image:
    height, width = (max(min(side, SIDE) // multiple, 1) * multiple for side in patch.shape[:2])
    top, left = (patch.shape[0] - height) // 2, (patch.shape[1] - width) // 2
    return patch[top : top + height, left : left + width]


def _gradient(value: Tensor) -> Tensor:
    if value.grad is None:
        return _by_channel(torch.zeros_like(value))
    # The derivative of a root is infinite at zero: a flat patch, which says nothing.
    return _by_channel(value.grad.nan_to_num(0.0, 0.0, 0.0))


def _by_channel(value: Tensor) -> Tensor:
    return value.transpose(0, 1).reshape(value.shape[1], -1)

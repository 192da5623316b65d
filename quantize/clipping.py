"""How much clipping is to cost (K of `balance.py`), found by trying.

Clipped edges stay clipped together and add up where rounding errors average out; by how much
depends on the network. Whole networks are served well by 2. Of split ones, so are IMDN and EDSR,
while RLFN-S and RFDN come closer to float with 8: both are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from edgesr.quantize.assign import assign
from edgesr.quantize.balance import CLIPPING, Balance, balance
from edgesr.quantize.calibrate import Photos
from edgesr.quantize.classes import ChannelClasses
from edgesr.quantize.equalize import Extremes, equalize
from edgesr.quantize.integer import execute
from edgesr.quantize.reconstruct import reconstruct
from edgesr.quantize.scheme import HIGHEST, LOWEST
from edgesr.quantize.sensitivity import Samples
from torch import fx

from edgesr.network import Network

WHOLE = (CLIPPING,)
SPLIT = (CLIPPING, 8.0)
_PATCHES = 16


def balanced_by_trial(
    graph: fx.GraphModule, network: Network, photos: Photos, classes: ChannelClasses,
    extremes: Extremes, samples: dict[str, Samples], *, equalized: bool, costs: Sequence[float],
) -> Balance:  # fmt: skip
    """Of the balances for these costs, the one whose integers come closest to float on photos.

    Args:
        graph: in int8 spelling, not rescaled yet; left alone.
        extremes: of all its channels.
        costs: values of K; one alone is not tried.
    """
    found = [
        balance(graph, classes, extremes, samples, equalized=equalized, clipping=cost)
        for cost in costs
    ]
    if len(found) == 1:
        return found[0]
    return max(found, key=lambda b: _decibels(graph, network, photos, classes, extremes, b))


def _decibels(
    graph: fx.GraphModule, network: Network, photos: Photos, classes: ChannelClasses,
    extremes: Extremes, tried: Balance,
) -> float:  # fmt: skip
    """Mean PSNR of the integers, with the nearest weights, against the float network."""
    trial, ends = deepcopy(graph), dict(extremes)
    equalize(trial, classes, tried.factors, ends)
    seen = {name: (float(low.min()), float(high.max())) for name, (low, high) in ends.items()}
    batch = photos.batch(network, _PATCHES)
    quantized = reconstruct(assign(trial, network, seen | tried.ranges), batch, rounding=False)
    steps = 255 / network.value_range
    with torch.inference_mode():
        wanted = (trial(batch) * steps + LOWEST).clamp(LOWEST, HIGHEST)
        got = execute(quantized, (batch * steps).round() + LOWEST)
        errors = (got - wanted).square().mean((1, 2, 3)).double()
        return float(10 * torch.log10(255**2 / errors.clamp(min=1e-9)).mean())

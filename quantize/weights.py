"""Integers of one convolution: symmetric per output channel, `max |w| / 127`."""

from __future__ import annotations

import torch
from edgesr.quantize.scheme import QParams, QWeights
from torch import fx

from edgesr.errors import UnsupportedError
from edgesr.graph import constant_of, layer_of

LARGEST_MULTIPLIER = 256
"""XNNPACK loads no file with a larger one, and may take the process down."""
ACCUMULATOR_SHARE = 2**22
"""A bias takes at most this much of the 2^24 that float32 counts exactly."""


def quantize_weights(
    graph: fx.GraphModule, conv: fx.Node, activations: dict[str, QParams]
) -> QWeights:
    """Integers of one convolution, given the scales around it.

    Raises:
        UnsupportedError: the weights are computed from the image, or far too large.
    """
    weight = constant_of(graph, conv.args[1])
    bias = constant_of(graph, conv.args[2])
    if weight is None or (bias is None and conv.args[2] is not None):
        raise UnsupportedError(
            f"layer `{layer_of(conv)}` ({conv.name}): its weights depend on the image; int8 needs "
            "constants"
        )
    x = conv.args[0]
    assert isinstance(x, fx.Node)
    scale_in, scale_out = activations[x.name].scale, activations[conv.name].scale
    peak = weight.detach().double().abs().flatten(1).amax(1)
    offset = torch.zeros(len(weight)) if bias is None else bias.detach()
    # A channel with hardly any weight but a bias would need a bias beyond the accumulator; XNNPACK
    # wants its multiplier, scale_in * scale / scale_out, to be at least 2^-32.
    needed = torch.maximum(peak / 127, offset.double().abs() / (scale_in * ACCUMULATOR_SHARE))
    scale = needed.clamp(min=2.0**-31 * scale_out / scale_in).float()
    multiplier = float(scale.double().max()) * scale_in / scale_out
    if multiplier >= LARGEST_MULTIPLIER:
        raise UnsupportedError(
            f"layer `{layer_of(conv)}` ({conv.name}): one step of its input moves its result by "
            f"{multiplier:.3g} of the 256 codes its range has; its weights or its bias are far too "
            "large for the layers after it"
        )
    steps = weight.detach().double() / scale.double().reshape(-1, 1, 1, 1)
    return QWeights(
        weight=torch.round(steps).clamp(-127, 127).to(torch.int8),
        scale=scale,
        bias=torch.round(offset.double() / (scale_in * scale.double())).to(torch.int32),
    )

"""Post-training quantization: photos in, integers out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from edgesr.quantize.calibrate import Observation, observe
from edgesr.quantize.forms import spell
from edgesr.quantize.integer import check
from edgesr.quantize.scales import choose_scales
from edgesr.quantize.scheme import QuantizedGraph
from edgesr.quantize.weights import quantize_weights
from torch import fx

from edgesr.data.images import Image
from edgesr.graph import is_call, tensor_nodes
from edgesr.network import Network

aten = torch.ops.aten


def quantize(
    graph: fx.GraphModule,
    network: Network,
    images: Iterable[Image],
    *,
    forbidden: Collection[str] = frozenset(),
) -> QuantizedGraph:
    """Quantize a lowered graph to 8 bits.

    Args:
        graph: lowered for int8 (`Target.int8_forms`); left alone.
        network: what input and output mean.
        images: uint8 HxWx3 low-resolution photos; three patches of each are run.
        forbidden: pixel hashes of images that must not be calibrated on.

    Raises:
        UsageError: no calibration image, or a forbidden one.
        CheckpointError: a layer computes NaN or infinity.
        UnsupportedError: a layer has no int8 form.
    """
    spelled = spell(graph)
    check(spelled)
    seen = observe(spelled, network, images, forbidden=forbidden)
    activations = choose_scales(spelled, network, seen.ranges)
    weights = {
        node.name: quantize_weights(spelled, node, activations)
        for node in tensor_nodes(spelled)
        if is_call(node, aten.conv2d.default)
    }
    return QuantizedGraph(spelled, activations, weights, network, _record(seen))


def _record(seen: Observation) -> dict[str, object]:
    return {"observer": "minmax", "patches": seen.patches, "images": seen.hashes}

"""Networks and quantized graphs with one planted defect each."""

from __future__ import annotations

from dataclasses import replace

import torch
from edgesr.export.pipeline import prepare
from edgesr.quantize import QuantizedGraph, quantize
from edgesr.quantize.doctor import Budget, Sample, examine
from edgesr.quantize.doctor.examine import BARE
from edgesr.quantize.weights import quantize_weights
from small_networks import C, conv, photo, randomize
from small_networks import body as framed
from torch import nn

from edgesr.graph import is_call, tensor_nodes
from edgesr.network import Network

FIRST, SECOND = "body.0", "body.2"
"""The two convolutions of the body, as the network names them."""
SIDE = 40


def healthy() -> Network:
    """Head, two convolutions with ReLU, tail, anchor; x2."""
    torch.manual_seed(5)
    module = framed(conv(C, C), nn.ReLU(), conv(C, C), nn.ReLU())
    return Network(randomize(module).eval(), "healthy-x2", 2)


def scaled(factor: float, channels: slice, *, compensated: bool) -> Network:
    """`FIRST` made louder, and `SECOND` deaf to it where that is to change nothing."""
    network = healthy()
    layers = dict(network.module.named_modules())
    layers[FIRST].weight[channels] *= factor
    layers[FIRST].bias[channels] *= factor
    if compensated:
        layers[SECOND].weight[:, channels] /= factor
    return network


def with_dead_channels(count: int) -> Network:
    """`FIRST` computes nothing in some channels."""
    network = healthy()
    layer = dict(network.module.named_modules())[FIRST]
    layer.weight[:count] = 0
    layer.bias[:count] = -1
    return network


def quantized(network: Network) -> QuantizedGraph:
    """Plainly: nothing is healed."""
    photos = [photo(96, 96, seed) for seed in (1, 2)]
    return quantize(*prepare(network)[:2], photos, recipe=BARE)


def rescaled(graph: QuantizedGraph, names: list[str], factor: float) -> QuantizedGraph:
    """The scale of some tensors changed, with the integers around them."""
    known = dict(graph.activations)
    for name in names:
        params = known[name]
        known[name] = replace(params, scale=float(torch.tensor(params.scale * factor)))
    weights = {
        node.name: quantize_weights(graph.graph, node, known)
        for node in tensor_nodes(graph.graph)
        if is_call(node, torch.ops.aten.conv2d.default)
    }
    return QuantizedGraph(graph.graph, known, weights, graph.network, graph.calibration)


def sample(side: int = SIDE, scale: int = 2, seed: int = 11) -> Sample:
    """A smooth picture and its ground truth, unlike those that were calibrated on."""
    from edgesr.evaluate import low_resolution

    return Sample(f"photo-{seed}", *low_resolution(photo(side * scale, side * scale, seed), scale))


def look(subject: Network | QuantizedGraph, *samples: Sample, **options):
    """Quantize on the test photos and examine."""
    made = quantized(subject) if isinstance(subject, Network) else subject
    shown = samples or (sample(),)
    options = {"budget": Budget(600), "model": "NET", "images": len(shown)} | options
    return examine(made, shown, **options)


def found(diagnosis, rule: str) -> list:
    """Findings of one rule that are no `ok`."""
    return [f for f in diagnosis.findings if f.rule == rule and f.severity > 0]

"""Factors and ranges by what errors do to the output: against derivatives, and against trying."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize import integer
from edgesr.quantize.balance import balance
from edgesr.quantize.calibrate import gather, observe_channels
from edgesr.quantize.equalize import classes_of
from edgesr.quantize.forms import spell
from edgesr.quantize.observers import OUTPUT
from edgesr.quantize.ptq import Recipe, quantize
from edgesr.quantize.sensitivity import sample
from small_networks import C, Frame, conv, make, photo, randomize
from torch import fx, nn

from edgesr.graph import is_call, trace
from edgesr.network import Network
from edgesr.targets import INT8_FORMS

aten = torch.ops.aten
PHOTOS = [photo(64, 64, seed) for seed in range(3)]
BARE = {"rounding": False, "bias_correction": False}


def spelled(network):
    return spell(lower(trace(network), INT8_FORMS))


def balanced(network, **options):
    graph = spelled(network)
    photos = gather(network, PHOTOS)
    extremes = observe_channels(graph, network, photos)
    classes, samples = classes_of(graph), sample(graph, network, photos.patches)
    return graph, balance(graph, classes, extremes, samples, **options)


class Shaken(fx.Interpreter):
    """The float network with noise on one tensor."""

    def __init__(self, graph, name, size):
        super().__init__(graph)
        self.name, self.size = name, size

    def run_node(self, n):
        value = super().run_node(n)
        return value + self.size * torch.randn_like(value) if n.name == self.name else value


@pytest.mark.parametrize("name", ["plain", "residual", "leaky_relu", "channel_attention"])
def test_weights_foretell_what_noise_does(name):
    torch.manual_seed(0)
    network = make(name)
    graph = spelled(network)
    photos = gather(network, PHOTOS)
    samples = sample(graph, network, photos.patches)
    x = photos.batch(network, 3)[:, :, 8:56, 8:56]
    convs = [n.name for n in graph.graph.nodes if is_call(n, aten.conv2d.default)]
    for node in convs[:3]:
        size = 1e-3 * float(samples[node].values.std())
        with torch.no_grad():
            shaken = Shaken(graph, node, size).run(x) - graph(x)
        measured = float(shaken.square().mean())
        foretold = float(samples[node].weights.sum()) * size**2
        assert foretold == pytest.approx(measured, rel=0.5), node


def test_attention_that_saturates_gets_no_codes_beyond():
    network = make("channel_attention")
    for module in network.module.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.weight.data *= 60
    quantized = quantize(
        lower(trace(network), INT8_FORMS), network, PHOTOS, recipe=Recipe(observer="minmax", **BARE)
    )
    (sigmoid,) = [n for n in quantized.graph.graph.nodes if is_call(n, aten.sigmoid.default)]
    (x,) = sigmoid.all_input_nodes
    known = quantized.activations[x.name]
    assert known.highest - known.lowest < 2.2 * np.log(511)


def rare(loud=0.02):
    """One channel whose outliers nothing reads, and set the scale of all."""
    body = nn.Sequential(conv(C, C), nn.ReLU(), conv(C, C), nn.ReLU())
    module = randomize(Frame(body))
    with torch.no_grad():
        module.body[0].weight[3] *= 500
        module.body[2].weight[:, 3] *= loud / 500
    return Network(module.eval(), "rare", 2)


def test_ranges_follow_what_is_read_and_not_what_is_loud():
    network = rare()
    graph = lower(trace(network), INT8_FORMS)
    image = photo(32, 32, 9)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    wanted = (graph(x)[0].permute(1, 2, 0) * 255).numpy()
    errors = {}
    for observer in (OUTPUT, "minmax", "mse"):
        recipe = Recipe(observer=observer, equalize=False, **BARE)
        quantized = quantize(graph, network, PHOTOS, recipe=recipe)
        errors[observer] = float(np.square(integer.run(quantized, image) - wanted).mean())
    assert errors[OUTPUT] < errors["minmax"] / 4
    assert errors[OUTPUT] < errors["mse"] / 2


def test_factors_stay_one_where_equalization_is_off():
    _, found = balanced(make("residual"), equalized=False)
    assert (found.factors == 1).all()


def test_it_never_gives_a_range_to_the_side_nothing_is_on():
    graph, found = balanced(make("plain"))
    for node in graph.graph.nodes:
        if is_call(node, aten.relu.default):
            assert found.ranges[node.name][0] == 0 < found.ranges[node.name][1]

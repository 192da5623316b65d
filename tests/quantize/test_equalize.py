"""Equalization: nothing changes in float, and narrow channels get their codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize import integer
from edgesr.quantize.calibrate import gather, observe_channels
from edgesr.quantize.classes import channel_classes
from edgesr.quantize.equalize import classes_of, equalize, largest_factors
from edgesr.quantize.forms import spell
from edgesr.quantize.ptq import Recipe, quantize
from small_networks import C, Frame, conv, make, photo, randomize
from torch import nn

from edgesr.graph import input_of, output_of, shapes, trace
from edgesr.network import Network
from edgesr.targets import INT8_FORMS

NAMES = [
    "plain",
    "prelu",
    "residual",
    "concat",
    "pooling",
    "leaky_relu",
    "channel_attention",
    "contrast",
]


def spelled(network):
    return spell(lower(trace(network), INT8_FORMS))


def seen(network, graph):
    return observe_channels(graph, network, gather(network, [photo(48, 48, s) for s in (1, 2)]))


@pytest.mark.parametrize("name", NAMES)
def test_float_results_stay(name):
    network = make(name)
    graph = spelled(network)
    x = torch.rand(1, 3, 24, 24)
    before = graph(x)
    extremes = seen(network, graph)
    classes = classes_of(graph)
    factors = largest_factors(graph, classes, extremes)
    assert (factors >= 1).all() and (factors > 1.01).any()
    equalize(graph, classes, factors, extremes)
    assert torch.allclose(graph(x), before, atol=2e-5)
    after = seen(network, graph)
    for node, (low, high) in after.items():
        assert low == pytest.approx(extremes[node][0], rel=1e-3, abs=1e-4), node
        assert high == pytest.approx(extremes[node][1], rel=1e-3, abs=1e-4), node


@pytest.mark.parametrize("name", NAMES)
def test_image_in_and_out_are_pinned(name):
    graph = spelled(make(name))
    classes = channel_classes(graph, shapes(graph, 192, 192))
    for node in (input_of(graph), output_of(graph)):
        assert (classes.number[node.name] == -1).all()


def test_squares_carry_the_factor_twice_and_roots_undo_it():
    graph = spelled(make("contrast"))
    classes = channel_classes(graph, shapes(graph, 192, 192))
    powers = {name: set(power) for name, power in classes.power.items()}
    assert any(power == {2.0} for power in powers.values())
    factors = np.full(classes.count, 3.0)
    square = next(name for name, power in powers.items() if power == {2.0})
    assert classes.factors(factors, square) == pytest.approx(np.full(C, 9.0))


def sabotaged():
    """The head's channel 5 a hundred times too large, the body takes it back."""
    body = nn.Sequential(conv(C, C), nn.ReLU(), conv(C, C), nn.ReLU())
    module = randomize(Frame(body))
    with torch.no_grad():
        module.head.weight[5] *= 100
        module.head.bias[5] *= 100
        module.body[0].weight[:, 5] /= 100
    return Network(module.eval(), "sabotaged", 2)


def test_a_sabotaged_channel_is_repaired():
    network = sabotaged()
    graph = lower(trace(network), INT8_FORMS)
    image, errors = photo(32, 32, 9), {}
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    wanted = (graph(x)[0].permute(1, 2, 0) * 255).round().clamp(0, 255).numpy()
    for on in (False, True):
        recipe = Recipe(equalize=on, rounding=False, bias_correction=False, observer="minmax")
        quantized = quantize(graph, network, [photo(96, 96, s) for s in (1, 2)], recipe=recipe)
        errors[on] = float(np.square(integer.run(quantized, image) - wanted).mean())
    assert errors[True] < errors[False] / 4

"""The integer reference is what the runtimes compute, code by code."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from edgesr.quantize import integer, scheme
from small_networks import (
    EXACT,
    C,
    Frame,
    conv,
    difference,
    in_litert,
    in_onnxruntime,
    make,
    photo,
    quantized,
    quantized_once,
    randomize,
)  # fmt: skip
from torch import nn

from edgesr import models
from edgesr.errors import UnsupportedError
from edgesr.network import Network

IMAGE = photo(40, 56, seed=7)


@pytest.mark.parametrize("name", EXACT)
def test_litert_computes_the_reference(name, tmp_path):
    graph = quantized_once(name)
    expected = integer.run(graph, IMAGE)
    assert len(np.unique(expected)) > 100, "the picture must exercise the codes"
    assert difference(in_litert(graph, IMAGE, tmp_path), expected) == 0


@pytest.mark.parametrize("name", EXACT)
def test_onnxruntime_computes_the_reference(name):
    graph = quantized_once(name)
    assert integer.is_exact(graph)
    assert difference(in_onnxruntime(graph, IMAGE), integer.run(graph, IMAGE)) == 0


@pytest.mark.parametrize("name", ["plain-m-x3", "ncnet-x3"])
def test_deployed_networks_agree_everywhere(name, tmp_path):
    torch.manual_seed(3)
    graph = quantized(models.create(name))
    expected = integer.run(graph, IMAGE)
    assert difference(in_litert(graph, IMAGE, tmp_path), expected) == 0
    assert difference(in_onnxruntime(graph, IMAGE), expected) == 0


@pytest.mark.parametrize("name", ["plain", "residual", "concat"])
def test_reference_stays_near_the_float_network(name):
    network = make(name)
    x = torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 255
    real = (network.module(x)[0].permute(1, 2, 0).numpy() * 255).astype(np.float64)
    error = np.mean((integer.run(quantized_once(name), IMAGE) - real) ** 2)
    assert 10 * np.log10(255**2 / error) > 40


def test_sums_beyond_float32_are_exact(tmp_path):
    """192 channels of like weights: sums pass 2^24, where float32 skips odd numbers."""
    torch.manual_seed(0)
    frame = Frame(nn.Sequential(conv(192, 192), nn.ReLU()), channels=192)
    network = Network(randomize(frame).eval(), "wide", 2)
    weight = network.module.body[0].weight
    weight.copy_((1 + weight) / 2000)
    graph = quantized(network)
    widest = max(
        integer.largest_sum(w, graph.activations[node.args[0].name])
        for node in graph.graph.graph.nodes
        if (w := graph.weights.get(node.name)) is not None
    )
    assert widest > integer.EXACT_LIMIT
    image = photo(16, 24)
    assert difference(in_litert(graph, image, tmp_path), integer.run(graph, image)) == 0


def test_codes_of_every_tensor_are_int8():
    graph = quantized_once("concat")
    codes = integer.codes(graph, IMAGE)
    assert set(codes) == set(graph.activations)
    for name, values in codes.items():
        assert torch.equal(values, values.round()), name
        assert values.min() >= scheme.LOWEST and values.max() <= scheme.HIGHEST, name


def test_no_sum_lies_near_a_half():
    """What makes fixed point and float agree, checked on all pairs of codes."""
    graph = quantized_once("residual")
    seen = Counter()
    for node in graph.graph.graph.nodes:
        if node.target not in (torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor):
            continue
        scales = [graph.activations[x.name].scale for x in node.all_input_nodes]
        a, b = (s / graph.activations[node.name].scale for s in scales)
        d = np.arange(-255, 256, dtype=np.float64)
        exact = d[:, None] * a + d * b
        inside = np.abs(exact) <= 256
        assert np.abs(exact - np.floor(exact) - 0.5)[inside].min() > 5e-4 * max(a, b), node.name
        seen["sums"] += 1
    assert seen["sums"] == 3


def test_an_operator_without_a_formula_is_named():
    class Cubic(nn.Module):
        def forward(self, x):
            return torch.exp(x)

    network = Network(Frame(nn.Sequential(Cubic(), conv(C, C))).eval(), "exp", 2)
    with pytest.raises(UnsupportedError, match=r"body\.0.*exp.*int8"):
        quantized(network)


def test_halves_go_to_even_everywhere(tmp_path):
    """A multiplier of exactly 1/2: every odd pixel lies between two codes."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv(3, 3, 1, groups=3, bias=False)

        def forward(self, x):
            return self.conv(x)

    graph = quantized(Network(randomize(Half()), "half", 1))
    (name,) = graph.weights
    graph.weights[name] = scheme.QWeights(
        torch.ones(3, 1, 1, 1, dtype=torch.int8),
        torch.full((3,), 0.5),
        torch.zeros(3, dtype=torch.int32),
    )
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = np.rint(image / 2)
    assert np.array_equal(integer.run(graph, image), expected)
    assert np.array_equal(in_litert(graph, image, tmp_path), expected)
    assert np.array_equal(in_onnxruntime(graph, image), expected)

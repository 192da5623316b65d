"""Channels that are there twice: the same in float, finer steps for the other weights."""

from __future__ import annotations

import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize import integer, quantize
from edgesr.quantize.outliers import with_outliers_repeated
from small_networks import (
    C,
    Frame,
    conv,
    difference,
    in_litert,
    in_onnxruntime,
    photo,
    randomize,
)  # fmt: skip
from torch import nn

from edgesr.graph import constant_of, trace
from edgesr.network import Network
from edgesr.targets import INT8_FORMS

IMAGE = photo(40, 56, seed=7)
PHOTOS = [photo(96, 96, seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def pair():
    """Quantized, without and with repeated channels: one weight is twenty times the others."""
    torch.manual_seed(0)
    body = nn.Sequential(conv(C, C), nn.ReLU(), conv(C, C), nn.ReLU())
    module = randomize(Frame(body))
    with torch.no_grad():
        body[2].weight[:, 3] *= 20
        body[0].weight[3] /= 20
        body[0].bias[3] /= 20
    network = Network(module.eval(), "outlying", 2)
    before = quantize(lower(trace(network), INT8_FORMS), network, PHOTOS)
    return before, with_outliers_repeated(before)


def test_the_same_numbers_in_float(pair):
    x = torch.rand(1, 3, 23, 30, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before, after = (quantized.graph(x) for quantized in pair)
    assert float((before - after).abs().max()) < 2e-6


def test_steps_get_finer_and_few_channels_are_added(pair):
    before, after = pair
    wider = 0
    for name, weights in after.weights.items():
        assert weights.scale.max() <= before.weights[name].scale.max() * (1 + 1e-6)
        wider += weights.weight.shape[1] - before.weights[name].weight.shape[1]
    assert 0 < wider <= sum(w.weight.shape[1] for w in before.weights.values()) / 8
    assert after.activations == before.activations
    assert all(
        constant_of(after.graph, node.args[1]).shape == after.weights[node.name].weight.shape
        for node in after.graph.graph.nodes
        if node.name in after.weights
    )


def test_runtimes_compute_its_reference(pair, tmp_path):
    _, after = pair
    expected = integer.run(after, IMAGE)
    assert difference(in_litert(after, IMAGE, tmp_path), expected) == 0
    assert difference(in_onnxruntime(after, IMAGE), expected) == 0

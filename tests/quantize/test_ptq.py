"""What quantization promises about scales, before any runtime is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize import QParams, integer, ptq, quantize
from edgesr.quantize.calibrate import gather
from edgesr.quantize.ptq import Recipe
from edgesr.quantize.statistics import observe
from edgesr.quantize.ties import is_moving, moved_inputs
from small_networks import C, Frame, conv, make, photo, quantized, quantized_once, randomize
from torch import nn
from torch.nn import functional as F

from edgesr.errors import CheckpointError, UnsupportedError, UsageError
from edgesr.graph import constant_of, input_of, is_call, output_of, tensor_nodes, trace
from edgesr.network import Network
from edgesr.targets import INT8_FORMS

aten = torch.ops.aten
NAMES = ["plain", "prelu", "prelu_any_slope", "residual", "concat", "pooling", "image_again"]


def lowered(network):
    return lower(trace(network), INT8_FORMS)


@pytest.mark.parametrize("name", NAMES)
def test_codes_at_both_ends_are_pixels(name):
    graph = quantized_once(name)
    pixels = QParams(float(np.float32(1 / 255)), -128)
    assert graph.activations[input_of(graph.graph).name] == pixels
    assert graph.activations[output_of(graph.graph).name] == pixels
    assert pixels.highest == pytest.approx(1.0) and pixels.lowest == 0.0


def test_a_value_range_of_255_has_scale_one():
    class Identity(nn.Module):
        def forward(self, x):
            return F.relu(x)

    graph = quantized(Network(Identity(), "relu", 1, value_range=255.0))
    assert set(graph.activations.values()) == {QParams(1.0, -128)}


@pytest.mark.parametrize("name", NAMES)
def test_operators_that_move_values_keep_the_scale(name):
    graph = quantized_once(name)
    moved = [n for n in tensor_nodes(graph.graph) if is_moving(graph.graph, n)]
    assert moved
    for node in moved:
        for x in moved_inputs(node):
            assert graph.activations[x.name] == graph.activations[node.name], node.name


@pytest.mark.parametrize("name", NAMES)
def test_scales_are_float32_and_zero_is_exact(name):
    for params in quantized_once(name).activations.values():
        assert params.scale == float(np.float32(params.scale)) > 0
        assert -128 <= params.zero_point <= 127
        assert params.code_of(0.0) == params.zero_point


@pytest.mark.parametrize("name", NAMES)
def test_relu_spends_no_codes_below_zero(name):
    """Unless it is concatenated with something that has values there."""
    graph = quantized_once(name)
    for node in tensor_nodes(graph.graph):
        if not is_call(node, aten.relu.default) or len(node.args[0].users) > 1:
            continue
        if all(is_call(user, aten.conv2d.default) for user in node.users):
            assert graph.activations[node.name].zero_point == -128


def test_with_minmax_every_observed_value_is_within_the_codes():
    network = make("concat")
    images = [photo(96, 96, seed) for seed in (1, 2)]
    graph = lowered(network)
    seen = observe(graph, network, gather(network, images))
    chosen = ptq.quantize_observed(seen, network, recipe=Recipe(observer="minmax"))
    for node in tensor_nodes(seen.graph):
        clipped = all(is_call(u, aten.relu.default, aten.clamp.default) for u in node.users)
        params = chosen.activations[node.name]
        pixels = params.zero_point == -128 and params.scale == float(np.float32(1 / 255))
        if clipped or pixels:
            continue
        low, high = seen.histograms[node.name].low, seen.histograms[node.name].high
        assert params.lowest <= low + params.scale / 2, node.name
        assert high - params.scale / 2 <= params.highest, node.name


def test_scales_that_meet_in_a_sum_are_odd_multiples():
    graph = quantized_once("residual")
    for node in tensor_nodes(graph.graph):
        if is_call(node, aten.add.Tensor):
            scales = [graph.activations[n.name].scale for n in (node, *node.all_input_nodes)]
            multiples = [round(s / min(scales), 6) for s in scales]
            unit = next(k for k in range(1, 512) if all(_is_odd(k * m) for m in multiples))
            assert unit * max(multiples) < 1025


def _is_odd(value):
    return abs(value - round(value)) < 1e-3 and round(value) % 2 == 1


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_symmetric_and_fill_their_codes(name):
    graph = quantized_once(name)
    for node in tensor_nodes(graph.graph):
        if not is_call(node, aten.conv2d.default):
            continue
        weights = graph.weights[node.name]
        assert weights.weight.dtype == torch.int8 and weights.bias.dtype == torch.int32
        peaks = weights.weight.to(torch.int16).abs().flatten(1).amax(1)
        real = dict(graph.graph.named_buffers()) | dict(graph.graph.named_parameters())
        kernel = real[str(node.args[1].target)]
        assert (peaks <= 127).all()
        assert (peaks[kernel.flatten(1).abs().amax(1) > 1e-3] >= 120).all()
        back = weights.weight * weights.scale.reshape(-1, 1, 1, 1)
        # Not the nearest code for each weight, but near: rounding looks at the layer's output.
        assert ((back - kernel).abs() <= 8 * weights.scale.reshape(-1, 1, 1, 1)).all()


def test_the_nearest_anchor_copies_pixels_exactly():
    graph = quantized_once("plain")
    image = photo(12, 10)
    codes = integer.codes(graph, image)
    (anchor,) = (
        n for n in tensor_nodes(graph.graph)
        if is_call(n, aten.conv2d.default) and n.args[0] is input_of(graph.graph)
        and graph.weights[n.name].weight.shape[2:] == (1, 1)
    )  # fmt: skip
    pixels = codes["x"]
    kernel = graph.weights[anchor.name].weight
    source = kernel.float().flatten(1).argmax(1) if anchor.args[6] == 1 else None
    copies = pixels[:, source] if source is not None else pixels.repeat_interleave(4, dim=1)
    found = codes[anchor.name]
    assert torch.equal(found, copies) or torch.equal(found, pixels.repeat(1, 4, 1, 1))


def test_a_dead_channel_keeps_its_bias():
    module = randomize(Frame(nn.Sequential(conv(C, C))))
    module.head.weight[3] = 0.0
    module.head.bias[3] = 0.25
    graph = quantized(Network(module.eval(), "dead", 2))
    head = next(iter(graph.weights))
    params = graph.activations[head]
    weights = graph.weights[head]
    scale = graph.activations["x"].scale * float(weights.scale[3])
    (node,) = (n for n in tensor_nodes(graph.graph) if n.name == head)
    bias = float(constant_of(graph.graph, node.args[2])[3])  # equalization scaled it up
    assert int(weights.bias[3]) * scale == pytest.approx(bias, rel=1e-5) and bias >= 0.25
    assert params.code_of(bias) in integer.codes(graph, photo(12, 12))[head][0, 3].unique()


def test_quantizing_twice_gives_the_same_and_leaves_the_graph_alone():
    network = make("concat")
    graph = lowered(network)
    before, code = {k: v.clone() for k, v in graph.state_dict().items()}, graph.code
    images = [photo(96, 96)]
    first, second = (quantize(graph, network, images) for _ in range(2))
    assert first.activations == second.activations
    assert graph.code == code
    assert all(torch.equal(before[k], v) for k, v in graph.state_dict().items())


def test_features_are_not_squeezed_into_pixels():
    class Unclipped(nn.Module):
        """Its output, unclipped, also feeds another layer."""

        def __init__(self):
            super().__init__()
            self.a, self.b = conv(3, 3), conv(3, 3)

        def forward(self, x):
            y = 5.0 * self.a(x)
            return torch.cat([y, self.b(y)], dim=1)[:, :3]

    with pytest.raises(UnsupportedError, match=r"shares its scale with pixels"):
        quantized(Network(randomize(Unclipped()).eval(), "squeezed", 1))


def test_no_image_is_refused():
    network = make("plain")
    with pytest.raises(UsageError, match="no calibration image"):
        quantize(lowered(network), network, [])


def test_damaged_weights_are_refused_by_layer():
    network = make("plain")
    network.module.body[2].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"body\.2.*NaN"):
        quantize(lowered(network), network, [photo(96, 96)])


def test_a_layer_whose_weights_depend_on_the_image_is_refused():
    class Dynamic(nn.Module):
        def forward(self, x):
            kernel = x.mean((2, 3), keepdim=True).reshape(1, 3, 1, 1)
            return F.conv2d(x, kernel.expand(3, 3, 1, 1))

    with pytest.raises(UnsupportedError):
        quantized(Network(Dynamic(), "dynamic", 1))

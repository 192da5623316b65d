"""Fake quantization: the integer reference's values, with gradients that point downhill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.quantize import QParams, QuantizedGraph, integer
from edgesr.quantize.fake import FakeQuantized, _Requantization, straight_through
from edgesr.quantize.scales import SUMS
from edgesr.quantize.ties import is_copy, tie
from small_networks import EXACT, photo, quantized_once
from torch import nn

from edgesr.errors import UnsupportedError
from edgesr.graph import constant_of, input_of, is_call, output_of, tensor_nodes

IMAGE = photo(40, 56, seed=7)
CODES = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() - 128


def learned(name, seed=0) -> FakeQuantized:
    """A module as it is somewhere in training: all weights and ranges moved."""
    start = quantized_once(name)  # which seeds for itself where it is the first to ask
    torch.manual_seed(seed)
    fake = FakeQuantized(start, learns_ranges=True)
    with torch.no_grad():
        for parameter in fake.weights:
            parameter.add_(3 * torch.randn_like(parameter))
        for parameter in fake.ranges.values():
            parameter.add_(0.2 * torch.randn(()))
    return fake


@pytest.mark.parametrize("name", list(EXACT))
def test_values_are_the_integer_references(name):
    start = quantized_once(name)
    assert torch.equal(FakeQuantized(start).eval()(CODES), integer.execute(start, CODES))
    fake = learned(name).eval()
    assert torch.equal(fake(CODES), integer.execute(fake.quantized(), CODES))
    fake.freeze_ranges()
    result = fake.quantized()
    assert torch.equal(fake(CODES), integer.execute(result, CODES))
    assert not torch.equal(fake(CODES), integer.execute(start, CODES)), "nothing was learned"


@pytest.mark.parametrize("name", list(EXACT))
def test_every_parameter_has_a_finite_gradient(name):
    fake = learned(name)
    (fake(CODES) ** 2).mean().backward()
    for parameter in (*fake.weights, *fake.ranges.values()):
        assert parameter.grad is not None and parameter.grad.isfinite().all()
    assert any(parameter.grad.any() for parameter in fake.weights)


@pytest.mark.parametrize("name", ["plain", "residual", "leaky_relu", "concat", "difference"])
def test_gradients_are_those_of_the_float_network(name):
    """Where little saturates, straight-through is nearly the float network's own gradient."""
    fake = FakeQuantized(quantized_once(name))
    toward = torch.randn(1, 3, 80, 112, generator=torch.Generator().manual_seed(0))
    inside = (integer.execute(fake.start, CODES).abs() < 127).float()  # the clip's slope is 0
    ((fake(CODES) * toward * inside).sum() / 255).backward()
    reals = [shadow.start.clone().requires_grad_() for shadow in fake._shadows.values()]
    constants = dict(zip(fake._shadows, reals, strict=True))
    y = torch.func.functional_call(fake.graph, constants, ((CODES + 128) / 255,))
    (y * toward * inside).sum().backward()
    for shadow, real in zip(fake._shadows.values(), reals, strict=True):
        expected = (real.grad * shadow.unit).flatten()
        cosine = torch.cosine_similarity(shadow.moves.grad.flatten(), expected, dim=0)
        assert cosine > 0.8
        assert 0.7 < shadow.moves.grad.norm() / expected.norm() < 1.3


def test_what_saturates_has_no_gradient():
    sums = torch.tensor([-900.0, -10.0, 30.0, 900.0]).reshape(1, 4, 1, 1).requires_grad_()
    codes = _Requantization.apply(sums, torch.full((1, 4, 1, 1), 0.25), 3)
    assert codes.flatten().tolist() == [-128, 1, 11, 127]  # -2.5 + 3 and 7.5 + 3, half to even
    codes.sum().backward()
    assert sums.grad.flatten().tolist() == [0, 0.25, 0.25, 0]


@pytest.mark.parametrize(
    ("value", "expected"), [(0.31, 3 - 3.1), (-0.26, -3 + 2.6), (50.0, 127), (-50.0, -128)]
)
def test_a_scale_learns_as_in_lsq(value, expected):
    """Eq. 3: `round(v/s) - v/s` inside the range, its end outside."""
    scale = torch.tensor(0.1, requires_grad=True)
    sums = torch.full((1, 1, 1, 1), value)
    codes = _Requantization.apply(sums, (1 / scale).reshape(1, 1, 1, 1), 0)
    (codes * scale).sum().backward()
    assert scale.grad.item() == pytest.approx(expected, abs=1e-4)


def test_straight_through_keeps_value_and_gradient_apart():
    x = torch.tensor([0.2, 0.7], requires_grad=True)
    y = straight_through(3 * x, torch.tensor([7.0, 8.0]))
    y.sum().backward()
    assert y.tolist() == [7, 8] and x.grad.tolist() == [3, 3]


def test_a_start_with_other_codes_than_the_nearest_is_kept():
    """Adaptive rounding, clipped weights and corrected biases survive."""
    start = quantized_once("residual")
    rng = np.random.default_rng(0)
    weights = {}
    nodes = {node.name: node for node in tensor_nodes(start.graph)}
    for name, known in start.weights.items():
        if is_copy(start.graph, nodes[name]):
            continue
        up = torch.from_numpy(rng.integers(-1, 2, known.weight.shape))
        weights[name] = replace(
            known,
            weight=(known.weight + up).clamp(-127, 127).to(torch.int8),
            bias=known.bias + torch.from_numpy(rng.integers(-300, 300, known.bias.shape)).int(),
            scale=known.scale * 0.9,
        )
    other = replace(start, weights=start.weights | weights)
    result = FakeQuantized(other, learns_ranges=True).quantized()
    assert result.activations == start.activations
    for name, known in weights.items():
        assert torch.equal(result.weights[name].weight, known.weight)
        assert torch.equal(result.weights[name].bias, known.bias)
        assert torch.allclose(result.weights[name].scale, known.scale, rtol=1e-6)


def test_a_small_step_does_not_undo_chosen_codes():
    """What adaptive rounding chose against the nearest code lies in the middle of its own."""
    start = quantized_once("residual")
    rng = np.random.default_rng(0)
    nodes = {node.name: node for node in tensor_nodes(start.graph)}
    chosen = {}
    for name, known in start.weights.items():
        if not is_copy(start.graph, nodes[name]):
            up = torch.from_numpy(rng.integers(0, 2, known.weight.shape)) * known.weight.sign()
            inside = known.weight.abs() < 126
            chosen[name] = replace(known, weight=known.weight + (up * inside).to(torch.int8))
    fake = FakeQuantized(replace(start, weights=start.weights | chosen))
    with torch.no_grad():
        for moves in fake.weights:
            moves += 0.15 * torch.sign(torch.randn_like(moves))
    result, count = fake.quantized(), 0
    for name, known in chosen.items():
        value = constant_of(start.graph, nodes[name].args[1])
        other = torch.round(value / known.scale.reshape(-1, 1, 1, 1)) != known.weight
        count += int(other.sum())
        assert torch.equal(result.weights[name].weight[other], known.weight[other])
    assert count > 1000


@pytest.mark.parametrize("name", ["residual", "concat", "image_again", "tanh_sigmoid"])
def test_learned_scales_obey_the_rules(name):
    fake = learned(name, seed=1)
    fake.freeze_ranges()
    result = fake.quantized()
    known = result.activations
    groups = tie(result.graph)
    for members in groups.all().values():
        assert len({known[member] for member in members}) == 1
    for node in (input_of(result.graph), output_of(result.graph)):
        assert known[node.name] == QParams(float(np.float32(1 / 255)), -128)
    for node in tensor_nodes(result.graph):
        if is_call(node, *SUMS):
            unit = known[node.name].scale
            ratios = [known[x.name].scale / unit for x in node.all_input_nodes]
            fits = [
                c for c in range(3, 512, 2)
                if all(abs(c * r - round(c * r)) < 1e-3 and round(c * r) % 2 for r in ratios)
            ]  # fmt: skip
            assert fits, f"{node.name}: no odd multiples of one unit"


def test_the_float_graph_follows_what_was_learned():
    fake = learned("plain", seed=3)
    fake.freeze_ranges()
    result = fake.quantized()
    real = result.graph((CODES + 128) / 255) * 255
    error = (integer.execute(result, CODES) + 128 - real).square().mean()
    assert 10 * torch.log10(255**2 / error) > 36
    before = fake.start.graph((CODES + 128) / 255) * 255
    assert (before - real).square().mean() > 4 * error


def test_a_snapshot_brings_everything_back():
    fake = learned("residual")
    other = FakeQuantized(fake.start, learns_ranges=True)
    other.restore(fake.snapshot())
    assert torch.equal(other(CODES), fake(CODES))
    fake.freeze_ranges()
    other.restore(fake.snapshot())
    assert not other.ranges and torch.equal(other(CODES), fake(CODES))


def test_layers_above_8_bits_are_named():
    start = quantized_once("plain")
    name = next(iter(start.weights))
    wide = {**start.activations, name: replace(start.activations[name], bits=16, zero_point=0)}
    with pytest.raises(UnsupportedError, match=r"head.*16 bits"):
        FakeQuantized(replace(start, activations=wide))


def test_a_batch_normalization_left_behind_is_named():
    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return torch.relu(self.norm(x))

    from edgesr.graph import trace
    from edgesr.network import Network

    network = Network(Left().eval(), "left", 1)
    with pytest.raises(UnsupportedError, match=r"norm.*batch_norm"):
        FakeQuantized(QuantizedGraph(trace(network), {}, {}, network))

"""Rounding by the layer's output, against an exhaustive search and against the nearest codes."""

from __future__ import annotations

import itertools

import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize import integer
from edgesr.quantize.calibrate import gather
from edgesr.quantize.ptq import Recipe, quantize
from edgesr.quantize.reconstruct import _columns, _compensated, reconstruct
from small_networks import make, photo
from torch.nn import functional as F

from edgesr.graph import trace
from edgesr.targets import INT8_FORMS

PHOTOS = [photo(96, 96, seed) for seed in (1, 2, 3)]


def test_the_best_of_all_roundings_is_nearly_found():
    """Four weights, seen through strongly correlated inputs: all 2^4 roundings tried."""
    torch.manual_seed(0)
    found, best, nearest = [], [], []
    for _ in range(30):
        inputs = torch.randn(500, 1) + 0.3 * torch.randn(500, 4)
        steps = 3 * torch.rand(1, 4, dtype=torch.float64)
        hessian = (inputs.T @ inputs).double()

        def error(codes, steps=steps, hessian=hessian):
            off = steps - codes
            return float(off @ hessian @ off.T)

        ways = itertools.product((0, 1), repeat=4)
        best.append(min(error(steps.floor() + torch.tensor(way)) for way in ways))
        found.append(error(_compensated(steps, hessian.clone())))
        nearest.append(error(steps.round()))
    assert sum(found) < 0.3 * sum(nearest)
    assert sum(found) < 3 * sum(best)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"),
    [([1, 1], [1, 1], [1, 1]), ([2, 2], [0, 0], [1, 1]), ([1, 2], [2, 1], [2, 1])],
)
def test_columns_are_what_the_kernel_sees(stride, padding, dilation):
    values, kernel = torch.randn(2, 4, 9, 11), torch.randn(5, 4, 3, 3)
    columns = _columns(values, kernel, (None, None, None, stride, padding, dilation, 1))
    wanted = F.conv2d(values, kernel, None, stride, padding, dilation)
    got = columns @ kernel.flatten(1).T
    assert torch.allclose(got, wanted.permute(0, 2, 3, 1).reshape(-1, 5), atol=1e-4)


def quantized(name, **steps):
    network = make(name)
    graph = lower(trace(network), INT8_FORMS)
    recipe = Recipe(equalize=False, **steps)
    return network, graph, quantize(graph, network, PHOTOS, recipe=recipe)


def output_error(name, **steps):
    _, graph, result = quantized(name, **steps)
    image = photo(40, 40, 9)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    wanted = 255 * graph(x)[0].permute(1, 2, 0).numpy()
    return float(((integer.run(result, image) - wanted) ** 2).mean())


@pytest.mark.parametrize("name", ["plain", "residual", "grouped"])
def test_the_output_comes_nearer_to_float(name):
    nearest = output_error(name, rounding=False, bias_correction=False)
    assert output_error(name, rounding=True, bias_correction=True) < nearest


def test_a_wrong_bias_is_corrected():
    """400 units too much in every channel are taken out again."""
    network, _, start = quantized("plain", rounding=False, bias_correction=False)
    name = list(start.weights)[1]
    right = start.weights[name].bias.clone()
    start.weights[name].bias.add_(400)
    batch = gather(network, PHOTOS).batch(network, 4)
    mended = reconstruct(start, batch, rounding=False)
    off = (mended.weights[name].bias - right).double()
    assert abs(float(off.mean())) < 80 and float(off.abs().max()) < 350


def test_codes_and_scales_stay_legal():
    _, _, result = quantized("residual", rounding=True)
    for weights in result.weights.values():
        assert weights.weight.dtype == torch.int8 and int(weights.weight.min()) >= -127
        assert weights.bias.dtype == torch.int32

"""Ranges of squares that are averaged."""

from __future__ import annotations

import torch
from edgesr.export.lower import lower
from edgesr.quantize.forms import spell
from edgesr.quantize.sensitivity import Samples
from edgesr.quantize.squares import averaged_squares, largest_worth_codes
from small_networks import make

from edgesr.graph import trace
from edgesr.targets import INT8_FORMS


def spelled(name):
    return spell(lower(trace(make(name)), INT8_FORMS))


def error_of_mean(values, bound):
    step = bound / 255
    return abs(float((values - (values / step).round().clamp(max=255) * step).mean()))


def test_small_squares_get_codes_although_a_few_large_ones_are_clipped():
    values = torch.randn(4, 504, generator=torch.Generator().manual_seed(0)).square() * 0.01
    values[:, 7] = 1.0
    found = Samples(values, torch.ones(4, 504))
    bound = largest_worth_codes(found, torch.ones(4), 8.0)
    assert bound < 8.0
    assert error_of_mean(values, bound) < error_of_mean(values, 8.0) / 4


def test_a_range_that_serves_stays():
    values = torch.rand(4, 504, generator=torch.Generator().manual_seed(1))
    assert largest_worth_codes(Samples(values, torch.ones(4, 504)), torch.ones(4), 1.0) == 1.0


def test_squares_of_a_contrast_are_found():
    assert [len(averaged_squares(spelled(name))) for name in ("contrast", "residual")] == [1, 0]

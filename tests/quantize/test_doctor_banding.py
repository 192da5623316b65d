"""False edges are impossible by rounding, and certain on bands."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edgesr.quantize.doctor.banding import FlatTally
from hypothesis import given
from hypothesis import strategies as st

HEIGHT, WIDTH = 64, 96


def ramp(slope_y: float, slope_x: float, start: float = 100.0) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    plane = start + slope_y * y + slope_x * x
    return np.repeat(plane[..., None], 3, axis=2).astype(np.float32)


def look(int8, float_):
    tally = FlatTally()
    tally.include(int8.astype(np.float32), float_.astype(np.float32))
    return tally.figures()


@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.integers(0, 2**32 - 1))
def test_rounding_to_pixels_draws_no_edge(slope_y, slope_x, seed):
    picture = ramp(slope_y, slope_x) + np.random.default_rng(seed).normal(
        0, 0.6, (HEIGHT, WIDTH, 3)
    )
    figures = look(np.rint(picture.astype(np.float32)), picture)
    if figures is not None:
        assert figures.false_edges == 0 and figures.levels_kept == 1
        assert figures.roughness < 0.5


def test_coarse_steps_are_bands():
    smooth = ramp(0.07, 0.05)
    figures = look(4 * np.rint(smooth / 4), smooth)
    assert figures.false_edges > 0.01 and figures.levels_kept < 0.8
    assert figures.share == 1


def test_grain_is_counted_as_the_normal_law_says():
    smooth = ramp(0.02, 0.03)
    for deviation in (0.5, 1.0):
        noise = np.random.default_rng(1).normal(0, deviation, smooth.shape)
        expected = 1 - math.erf(1 / (2 * deviation))
        figures = look(smooth + noise, smooth)
        assert figures.false_edges == pytest.approx(expected, rel=0.1)
        assert figures.roughness == pytest.approx(deviation, rel=0.05)


def test_texture_and_clipped_areas_are_not_flat():
    rng = np.random.default_rng(2)
    texture = rng.uniform(0, 255, (HEIGHT, WIDTH, 3))
    white = np.full((HEIGHT, WIDTH, 3), 255.0)
    assert look(np.rint(texture), texture) is None
    assert look(white - 3, white) is None


def test_a_constant_shift_is_no_band():
    smooth = ramp(0.05, 0.05)
    figures = look(np.rint(smooth) + 2, smooth)
    assert figures.false_edges == 0 and figures.levels_kept == 1

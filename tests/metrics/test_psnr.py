"""PSNR by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgesr.errors import SizeMismatchError
from edgesr.metrics.psnr import LITERATURE, RGB, Protocol, psnr


def test_one_level_everywhere_in_rgb():
    """MSE 1, so 20 log10 255."""
    hr = np.full((20, 24, 3), 100, np.uint8)
    assert psnr(hr + 1, hr, 2, RGB) == pytest.approx(20 * math.log10(255))


def test_one_level_everywhere_in_luma():
    """One level of grey is 219/255 of a level of Y."""
    hr = np.full((20, 24, 3), 100, np.uint8)
    assert psnr(hr + 1, hr, 2) == pytest.approx(20 * math.log10(255 * 255 / 219))


def test_only_green_changes():
    hr = np.full((20, 24, 3), 100, np.uint8)
    sr = hr.copy()
    sr[..., 1] += 10
    assert psnr(sr, hr, 2) == pytest.approx(20 * math.log10(255 / (10 * 128.553 / 255)))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_border_of_the_scale_is_cut(scale):
    hr = np.zeros((30, 40, 3), np.uint8)
    sr = hr.copy()
    sr[:scale], sr[-scale:], sr[:, :scale], sr[:, -scale:] = 255, 255, 255, 255
    assert psnr(sr, hr, scale) == math.inf
    assert psnr(sr, hr, scale - 1) < math.inf
    assert psnr(sr, hr, scale, Protocol(shave=0)) < math.inf


def test_unlike_sizes_are_named():
    with pytest.raises(SizeMismatchError, match="20x10 against 40x20"):
        psnr(np.zeros((10, 20, 3), np.uint8), np.zeros((20, 40, 3), np.uint8), 2)
    with pytest.raises(SizeMismatchError, match="nothing but border"):
        psnr(np.zeros((4, 20, 3), np.uint8), np.zeros((4, 20, 3), np.uint8), 2)


def test_the_protocol_prints_itself():
    text = str(LITERATURE)
    for word in ("Y (BT.601)", "shave = scale", "uint8", "MATLAB bicubic"):
        assert word in text
    assert str(RGB).startswith("RGB") and "shave 7" in str(Protocol(shave=7))

"""SSIM by hand and against the formula written out window by window."""

from __future__ import annotations

import numpy as np
import pytest

from edgesr.data.colour import luma
from edgesr.errors import SizeMismatchError
from edgesr.metrics.psnr import RGB, Protocol
from edgesr.metrics.ssim import ssim

WHOLE = Protocol(shave=0)


def slow(a: np.ndarray, b: np.ndarray) -> float:
    """Equation 13 of Wang et al. at every position of an 11x11 window."""
    y, x = np.mgrid[-5:6, -5:6]
    window = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            p, q = a[row : row + 11, column : column + 11], b[row : row + 11, column : column + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            variances = (window * (p - mean_p) ** 2).sum() + (window * (q - mean_q) ** 2).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            values.append(
                (2 * mean_p * mean_q + c1) * (2 * covariance + c2)
                / ((mean_p**2 + mean_q**2 + c1) * (variances + c2))
            )  # fmt: skip
    return float(np.mean(values))


def test_equals_the_formula(scene, rng):
    other = np.clip(scene[:30, :40] + rng.normal(0, 12, (30, 40, 3)), 0, 255).astype(np.uint8)
    hr = np.ascontiguousarray(scene[:30, :40])
    assert ssim(other, hr, 2, WHOLE) == pytest.approx(slow(luma(other), luma(hr)), abs=1e-9)
    inner = np.s_[3:-3, 3:-3]
    assert ssim(other, hr, 3) == pytest.approx(slow(luma(other)[inner], luma(hr)[inner]), abs=1e-9)
    channels = [slow(other[inner][..., c] * 1.0, hr[inner][..., c] * 1.0) for c in range(3)]
    assert ssim(other, hr, 3, RGB) == pytest.approx(float(np.mean(channels)), abs=1e-9)


def test_by_hand():
    """Flat pictures have no variance: only the means' factor is left."""
    dark, light = np.full((16, 16, 3), 50, np.uint8), np.full((16, 16, 3), 100, np.uint8)
    c1 = 2.55**2
    expected = (2 * 50 * 100 + c1) / (50**2 + 100**2 + c1)
    assert ssim(dark, light, 1, Protocol(colour="RGB", shave=0)) == pytest.approx(expected)


def test_identical_and_opposite(scene):
    assert ssim(scene, scene, 2) == pytest.approx(1)
    assert ssim(255 - scene, scene, 2) < 0


def test_too_small_for_a_window():
    small = np.zeros((14, 30, 3), np.uint8)
    with pytest.raises(SizeMismatchError, match="11x11"):
        ssim(small, small, 2)

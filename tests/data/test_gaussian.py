"""Gaussian degradations: the kernel's moments are its arguments, the image stays in place."""

import math

import numpy as np
import pytest

from edgesr.data.bicubic import imresize
from edgesr.data.degradations.gaussian import (
    anisotropic_gaussian,
    blur,
    blur_downscale,
    centring,
    isotropic_gaussian,
    random_anisotropic,
)
from edgesr.errors import UsageError


def moments(kernel):
    """Mean (x, y) from the centre and covariance, in pixels."""
    offset = np.arange(len(kernel)) - (len(kernel) - 1) / 2
    x, y = np.meshgrid(offset, offset)
    mean = np.array([(kernel * x).sum(), (kernel * y).sum()])
    x, y = x - mean[0], y - mean[1]
    covariance = [[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)]
    return mean, np.array(covariance)


@pytest.mark.parametrize("theta", [0.0, 0.4, math.pi / 2, 2.5])
def test_the_kernel_has_the_covariance_it_was_asked_for(theta):
    kernel = anisotropic_gaussian(41, 9.0, 2.0, theta, shift=0.5)
    mean, covariance = moments(kernel)
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(mean, [0.5, 0.5], atol=1e-3)
    np.testing.assert_allclose(covariance, turn @ np.diag([9.0, 2.0]) @ turn.T, atol=0.02)


def test_isotropic_is_fspecial():
    """MATLAB's documented fspecial('gaussian', 3, 0.5)."""
    expected = [[0.0113, 0.0838, 0.0113], [0.0838, 0.6193, 0.0838], [0.0113, 0.0838, 0.0113]]
    np.testing.assert_allclose(isotropic_gaussian(3, 0.5), expected, atol=5e-5)


def test_a_needle_between_two_pixels_is_no_empty_kernel():
    kernel = isotropic_gaussian(5, 0.01, shift=0.5)
    assert kernel.sum() == pytest.approx(1)


def test_drawn_kernels_stay_in_mzsrs_ranges(rng):
    for _ in range(20):
        kernel = random_anisotropic(rng, 2, size=61)
        large, small = sorted(np.linalg.eigvalsh(moments(kernel)[1]), reverse=True)
        assert 0.99 <= small <= large <= 5.01


def test_blurring_weighs_the_neighbourhood(noise):
    kernel = np.zeros((3, 3))
    kernel[1, 2] = 0.75  # the right neighbour
    kernel[0, 1] = 0.25  # the one above
    expected = np.empty_like(noise)
    for y in range(noise.shape[0]):
        for x in range(noise.shape[1]):
            right = noise[y, min(x + 1, noise.shape[1] - 1)].astype(float)
            above = noise[max(y - 1, 0), x].astype(float)
            expected[y, x] = np.floor(0.75 * right + 0.25 * above + 0.5)
    np.testing.assert_array_equal(blur(noise, kernel), expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_direct_subsampling_stays_in_place(scale):
    """Of a ramp every reduction is the ramp at the new pixels' centres: bicubic's values."""
    ramp = np.tile(np.arange(48, dtype=np.float32)[None, :, None], (48, 1, 3))
    kernel = isotropic_gaussian(15, 1.3, shift=centring(scale))
    inner = np.s_[4:-4, 4:-4]
    direct = blur_downscale(ramp, kernel, scale)
    assert direct.shape == (48 // scale, 48 // scale, 3) and direct.dtype == np.float32
    np.testing.assert_allclose(direct[inner], imresize(ramp, 1 / scale)[inner], atol=2e-3)


def test_bicubic_after_blur_is_rounded_once(scene):
    kernel = isotropic_gaussian(7, 1.0)
    result = blur_downscale(scene, kernel, 2, "bicubic")
    exact = imresize(blur(scene.astype(np.float32), kernel), 0.5)
    np.testing.assert_array_equal(result, np.clip(np.floor(exact + 0.5), 0, 255))


def test_mistakes_are_named(scene):
    with pytest.raises(UsageError, match="96x72 does not divide by 5"):
        blur_downscale(scene, isotropic_gaussian(7, 1.0), 5)
    with pytest.raises(UsageError, match="must be positive"):
        anisotropic_gaussian(15, 2.0, 0.0, 0.0)

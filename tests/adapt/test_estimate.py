"""Kernel estimation finds planted blurs within the error that docs/adapt.md states."""

from __future__ import annotations

import numpy as np
import pytest

from edgesr.adapt.estimate import Estimate, estimate_kernel
from edgesr.data.bicubic import crop_to_multiple
from edgesr.data.datasets import dataset
from edgesr.data.degradations.gaussian import anisotropic_gaussian, blur_downscale
from edgesr.errors import UsageError

PLANTED = [(4.0, 1.2, 0.5), (2.0, 2.0, 0.0), (3.0, 1.5, 2.2)]


def covariance(estimate):
    c, s = np.cos(estimate.theta), np.sin(estimate.theta)
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag([estimate.lambda1, estimate.lambda2]) @ turn.T


@pytest.fixture(scope="module")
def natural():
    """Noise of the assumed spectrum, 1 / f^2 in power: what is planted must be found."""
    rng = np.random.default_rng(0)
    rows = np.fft.fftfreq(384)[:, None]
    distance = np.hypot(rows, np.fft.rfftfreq(384)[None])
    distance[0, 0] = 1
    plane = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((384, 384))) / distance)
    pixels = 127.5 + 45 * plane / plane.std()
    return np.repeat(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_blur_is_found_in_ideal_images(natural, planted):
    low = blur_downscale(natural, anisotropic_gaussian(15, *planted), 2)
    found, truth = estimate_kernel(low, 2), Estimate(*planted)
    assert np.sqrt(found.lambda1) == pytest.approx(np.sqrt(truth.lambda1), abs=0.12)
    assert np.sqrt(found.lambda2) == pytest.approx(np.sqrt(truth.lambda2), abs=0.12)
    error = np.linalg.norm(covariance(found) - covariance(truth))
    assert error < 0.12 * np.linalg.norm(covariance(truth))


def test_planted_blur_is_found_in_photos():
    """Within 0.4 pixels of width on every shipped photo, 0.2 on average."""
    truth, errors = Estimate(*PLANTED[0]), []
    for _, photo in dataset("samples"):
        low = blur_downscale(crop_to_multiple(photo, 2), anisotropic_gaussian(15, *PLANTED[0]), 2)
        found = estimate_kernel(low, 2)
        errors.append(abs(np.sqrt(found.lambda1) - np.sqrt(truth.lambda1)))
        errors.append(abs(np.sqrt(found.lambda2) - np.sqrt(truth.lambda2)))
    assert max(errors) < 0.4
    assert np.mean(errors) < 0.2


def test_what_nothing_can_be_learned_from_is_refused():
    with pytest.raises(UsageError, match="too small to estimate"):
        estimate_kernel(np.zeros((20, 64, 3), np.uint8), 2)
    with pytest.raises(UsageError, match="flat"):
        estimate_kernel(np.full((64, 64, 3), 90, np.uint8), 2)

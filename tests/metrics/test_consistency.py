"""LR consistency: perfect for what leads back to the input, low for what was invented."""

from __future__ import annotations

import numpy as np
import pytest

from edgesr.data.bicubic import imresize
from edgesr.data.degradations.gaussian import blur_downscale, isotropic_gaussian
from edgesr.errors import SizeMismatchError
from edgesr.metrics.consistency import lr_consistency


@pytest.mark.parametrize("scale", [2, 4])
def test_the_original_is_consistent_and_a_tint_is_not(scene, scale):
    low = imresize(scene, 1 / scale)
    assert lr_consistency(scene, low, scale) == np.inf
    assert lr_consistency(imresize(low, scale), low, scale) > 30
    tinted = np.clip(scene.astype(int) + 10, 0, 255).astype(np.uint8)
    # A shift of 10 levels of RGB is one of 10 * 219 / 255 in Y, but for clipped pixels.
    expected = 20 * np.log10(255 / (10 * 219 / 255))
    assert lr_consistency(tinted, low, scale) == pytest.approx(expected, abs=0.6)


def test_another_reduction_is_another_question(scene):
    kernel = isotropic_gaussian(9, 1.2)
    low = blur_downscale(scene, kernel, 2)
    assert lr_consistency(scene, low, 2, kernel=kernel) == np.inf
    assert lr_consistency(scene, low, 2) < 35


def test_wrong_scale_is_an_error(scene):
    with pytest.raises(SizeMismatchError):
        lr_consistency(scene, scene, 2)

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
    assert lr_consistency(scene, low) == np.inf
    assert lr_consistency(imresize(low, scale), low) > 30
    tinted = np.clip(scene.astype(int) + 10, 0, 255).astype(np.uint8)
    # A shift of 10 levels of RGB is one of 10 * 219 / 255 in Y, but for clipped pixels.
    expected = 20 * np.log10(255 / (10 * 219 / 255))
    assert lr_consistency(tinted, low) == pytest.approx(expected, abs=0.6)


def test_another_reduction_is_another_question(scene):
    kernel = isotropic_gaussian(9, 1.2)
    low = blur_downscale(scene, kernel, 2)
    assert lr_consistency(scene, low, kernel=kernel) == np.inf
    assert lr_consistency(scene, low) < 35


def test_any_scale(scene):
    """72x96 from 48x40: x1.5 by x2.4."""
    low = imresize(scene, (1 / 1.5, 1 / 2.4))
    assert lr_consistency(scene, low) == np.inf


def test_an_output_smaller_than_its_input_is_an_error(scene):
    with pytest.raises(SizeMismatchError, match="smaller than its input"):
        lr_consistency(scene[::2], scene)

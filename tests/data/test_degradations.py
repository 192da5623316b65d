"""Nearest, noise, JPEG, both orders: what was asked for, the same again for the same draw."""

from dataclasses import replace

import numpy as np
import pytest

from edgesr.data.degradations.jpeg import jpeg
from edgesr.data.degradations.nearest import nearest_downscale
from edgesr.data.degradations.noise import gaussian_noise, poisson_noise
from edgesr.data.degradations.second_order import FIRST, SECOND, second_order
from edgesr.errors import UsageError


def drawn(seed=0):
    return np.random.default_rng(seed)


def flat(level, side=128):
    return np.full((side, side, 3), level, np.uint8)


def test_nearest_takes_pixels_as_they_are():
    image = np.arange(7 * 9 * 3).reshape(7, 9, 3).astype(np.uint8)
    small = nearest_downscale(image, 3)
    assert small.shape == (2, 3, 3)
    np.testing.assert_array_equal(small[1, 2], image[4, 7])
    np.testing.assert_array_equal(nearest_downscale(image, 2)[0, 0], image[1, 1])


def test_gaussian_noise_has_its_width():
    noisy = gaussian_noise(flat(128), 10.0, drawn()).astype(float) - 128
    assert noisy.std() == pytest.approx(10, rel=0.02) and abs(noisy.mean()) < 0.2
    assert np.abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.03
    grey = gaussian_noise(flat(128), 10.0, drawn(), grey=True)
    assert (grey[..., 0] == grey[..., 2]).all() and grey.std() == pytest.approx(10, rel=0.02)


def test_poisson_noise_grows_with_light():
    for level in (20, 80, 180):
        noisy = poisson_noise(flat(level), 0.5, drawn()).astype(float)
        assert noisy.var() == pytest.approx(0.25 * level + 1 / 12, rel=0.06)
        assert noisy.mean() == pytest.approx(level, abs=0.2)
    np.testing.assert_array_equal(poisson_noise(flat(90), 0.0, drawn()), flat(90))
    grey = poisson_noise(flat(90), 1.0, drawn(), grey=True)
    assert (grey[..., 0] == grey[..., 1]).all() and grey.std() > 5
    with pytest.raises(UsageError, match="cannot be negative"):
        poisson_noise(flat(90), -1.0, drawn())


def test_noise_does_not_wrap():
    for level in (0, 255):
        noisy = gaussian_noise(flat(level), 20.0, drawn())
        assert np.abs(noisy.astype(int) - level).max() < 128


def test_jpeg_gets_worse(scene):
    errors = [np.abs(jpeg(scene, q).astype(int) - scene).mean() for q in (95, 60, 10)]
    assert 0 < errors[0] < errors[1] < errors[2]
    chroma = np.abs(jpeg(scene, 95, subsampled=False).astype(int) - scene).mean()
    assert chroma < errors[0]
    with pytest.raises(UsageError, match="1 to 95"):
        jpeg(scene, 0)


@pytest.mark.parametrize("scale", [2, 4])
def test_second_order_has_the_size_and_is_repeatable(scene, scale):
    one, two = (second_order(scene, scale, drawn(3)) for _ in range(2))
    assert one.shape == (72 // scale, 96 // scale, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, second_order(scene, scale, drawn(4)))


def test_without_damage_little_is_left_to_see(scene):
    """All draws at their mildest: the picture stays, so nothing is shifted or mirrored."""
    mild = replace(FIRST, blurred=0.0, resize=(0, 0, 1), gaussian=(0, 0), poisson=(0, 0),
                   quality=(95, 95))  # fmt: skip
    degraded = second_order(scene, 1, drawn(), first=mild, second=mild)
    assert np.abs(degraded.astype(int) - scene).mean() < 6


def test_each_step_of_both_passes_is_done(scene):
    """With only one step of one pass at work, the result differs from none."""
    off = replace(FIRST, blurred=0.0, resize=(0, 0, 1), gaussian=(0, 0), poisson=(0, 0),
                  quality=(95, 95))  # fmt: skip
    steps = (
        {"blurred": 1.0, "sigma": (2.0, 2.0)}, {"resize": (0, 1, 0), "factor": (0.3, 0.4)},
        {"gaussian": (20, 20), "gaussian_share": 1.0}, {"poisson": (2, 2), "gaussian_share": 0.0},
        {"quality": (5, 5)},
    )  # fmt: skip
    calm = second_order(scene, 2, drawn(), first=off, second=off).astype(int)
    for name in ("first", "second"):
        for step in steps:
            passes = {"first": off, "second": off, name: replace(off, **step)}
            result = second_order(scene, 2, drawn(), **passes).astype(int)
            assert np.abs(result - calm).mean() > 1.5, (name, step)


def test_the_second_pass_is_the_milder_one():
    assert SECOND.sigma[1] < FIRST.sigma[1] and SECOND.blurred < FIRST.blurred

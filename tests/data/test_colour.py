"""BT.601 as MATLAB has it."""

from __future__ import annotations

import numpy as np
import pytest

from edgesr.data import bicubic, colour
from edgesr.data.colour import join, luma, split, to_rgb, to_ycbcr


@pytest.mark.parametrize(
    ("rgb", "ycbcr"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81.481, 90.203, 240)),
        ((0, 255, 0), (144.553, 53.797, 34.214)),
        ((0, 0, 255), (40.966, 240, 109.786)),
    ],
)
def test_published_values(rgb, ycbcr):
    """The primaries of ITU-R BT.601 in MATLAB's rgb2ycbcr."""
    image = np.array([[rgb]], np.uint8)
    assert np.allclose(to_ycbcr(image)[0, 0], ycbcr, atol=1e-3)
    assert abs(luma(image)[0, 0] - ycbcr[0]) < 1e-9


def test_every_colour_comes_back():
    levels = np.arange(256, dtype=np.uint8)
    for red in (0, 1, 17, 127, 128, 254, 255):
        green, blue = np.meshgrid(levels, levels)
        image = np.stack([np.full_like(green, red), green, blue], axis=2)
        assert np.array_equal(to_rgb(to_ycbcr(image)), image)


def test_split_and_join_at_scale_one(noise):
    """Rounding Y to a byte moves a channel by at most one level."""
    y, chroma = split(noise)
    assert y.shape == (36, 48, 1) and chroma.shape == (36, 48, 2)
    assert np.abs(join(y, chroma).astype(int) - noise).max() <= 1


def test_join_is_bicubic_when_luma_is(scene, monkeypatch):
    """Enlarging Y, Cb and Cr alike is enlarging RGB: the conversion is linear."""
    ycbcr = to_ycbcr(scene)
    expected = to_rgb(bicubic.imresize(ycbcr, 3))
    enlarged = bicubic.imresize(np.ascontiguousarray(ycbcr[..., :1]), 3)
    assert np.array_equal(join(enlarged, ycbcr[..., 1:]), expected)
    monkeypatch.setattr(bicubic, "_STRIP_SAMPLES", 4000)
    assert np.array_equal(join(enlarged, ycbcr[..., 1:]), expected), "strips show"
    direct = np.rint(np.clip(bicubic.imresize(scene.astype(np.float32), 3), 0, 255))
    assert np.abs(direct - expected).max() <= 1


def test_grey_stays_grey(rng):
    grey = np.repeat(rng.integers(0, 256, (20, 24, 1), np.uint8), 3, axis=2)
    y, chroma = split(grey)
    result = join(bicubic.imresize(y, 2), chroma)
    assert np.all(result == result[..., :1])


def test_the_offset_is_not_forgotten():
    assert np.allclose(colour.luma(np.zeros((1, 1, 3), np.uint8)), 16)


def test_a_colour_is_the_same_wherever_it_lies(noise):
    """A matrix product of BLAS rounds the end of a row otherwise than its middle."""
    for part, whole in zip(split(noise.reshape(-1, 1, 3)), split(noise), strict=True):
        assert np.array_equal(part.ravel(), whole.ravel())


def test_the_way_back_is_the_inverse():
    assert np.allclose(np.array(colour.TO_RGB) @ colour.NUMERATORS, 255000 * np.eye(3), atol=1e-9)


def test_y_is_rounded_as_on_paper():
    """Halves go up; 0, 204, 68 is one, 0, 27, 101 lies 1e-5 from one."""
    for rgb in ((0, 204, 68), (0, 27, 101), (2, 177, 69), (0, 71, 140)):
        weighed = 65481 * rgb[0] + 128553 * rgb[1] + 24966 * rgb[2]
        assert split(np.array([[rgb]], np.uint8))[0].item() == 16 + (2 * weighed + 255000) // 510000

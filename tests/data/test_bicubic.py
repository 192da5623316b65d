"""Bicubic: MATLAB's algorithm written out slowly, properties, and the official files."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from edgesr.data import bicubic
from edgesr.data.bicubic import crop_to_multiple, imresize, out_size, strips


def keys(x: Fraction) -> Fraction:
    """Keys' kernel, a = -1/2, in exact fractions."""
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    if x <= 2:
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2
    return Fraction(0)


def slow_line(samples: list[Fraction], scale: Fraction) -> list[Fraction]:
    """One pass over one line, sample by sample: every source pixel within reach has its weight."""
    stretch = min(scale, Fraction(1))
    out = []
    for position in range(math.ceil(len(samples) * scale)):
        centre = (Fraction(2 * position + 1, 2)) / scale - Fraction(1, 2)
        reach = math.ceil(2 / stretch) + 1
        total = weights = Fraction(0)
        for source in range(math.floor(centre) - reach, math.ceil(centre) + reach + 1):
            weight = keys(stretch * (centre - source))
            inside = source % (2 * len(samples))  # mirrored, the edge sample repeated
            if inside >= len(samples):
                inside = 2 * len(samples) - 1 - inside
            total += weight * samples[inside]
            weights += weight
        out.append(total / weights)
    return out


def to_byte(value: Fraction) -> Fraction:
    return Fraction(min(max(math.floor(value + Fraction(1, 2)), 0), 255))


def slow(plane: np.ndarray, scale: Fraction) -> np.ndarray:
    """Height pass, rounded to a byte; width pass, rounded to a byte. No floats anywhere."""
    columns = [[Fraction(int(v)) for v in column] for column in plane.T]
    tall = np.array([[to_byte(v) for v in slow_line(c, scale)] for c in columns]).T
    wide = [[int(to_byte(v)) for v in slow_line(list(row), scale)] for row in tall]
    return np.array(wide, np.uint8)


@pytest.mark.parametrize(
    "scale", [Fraction(1, 2), Fraction(1, 3), Fraction(1, 4), Fraction(2), Fraction(3), Fraction(4)]
)
def test_equals_exact_arithmetic(rng, scale):
    """Noise of black and white makes overshoots and ties; every byte must agree."""
    plane = rng.choice(np.array([0, 1, 128, 254, 255], np.uint8), (12, 17))
    fast = imresize(plane[..., None], float(scale))[..., 0]
    assert np.array_equal(fast, slow(plane, scale))


def test_golden_line():
    """A step from 100 to 200 halved, by hand.

    At half size the kernel is twice as wide: the eight source samples around an output lie at
    0.25, 0.75, 1.25 and 1.75 on either side, where Keys' kernel over two is 111, 29, -9 and -3,
    all over 256. Beside the step three samples reach across it (29 - 9 - 3 = 17 parts), one
    further only the outermost (-3 parts).
    """
    edge = np.repeat(np.array([[100], [200]], np.uint8), 8)[None, :, None]
    undershoot, shoulder = 100 - 100 * 3 / 256, 100 + 100 * 17 / 256
    assert (round(undershoot), round(shoulder)) == (99, 107)
    line = imresize(np.repeat(edge, 2, axis=0), 0.5)[0, :, 0].tolist()
    assert line == [100, 100, 99, 107, 193, 201, 200, 200]


@pytest.mark.parametrize("value", [0, 1, 77, 255])
@pytest.mark.parametrize("scale", [1 / 8, 1 / 3, 0.4, 1.0, 2.5, 4])
def test_flat_stays_flat(value, scale):
    flat = np.full((24, 16, 3), value, np.uint8)
    assert np.all(imresize(flat, scale) == value)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1 / 4, 1 / 3, 1 / 2, 1.0, 1.5, 2, 3])
)
def test_sizes_and_symmetry(height, width, scale):
    """ceil(side * scale); and a mirrored picture gives the mirrored result."""
    image = np.random.default_rng(height * 41 + width).integers(
        0, 256, (height, width, 1), np.uint8
    )
    result = imresize(image, scale)
    assert result.shape[:2] == out_size(height, width, scale)
    assert result.shape[:2] == (math.ceil(height * scale - 1e-9), math.ceil(width * scale - 1e-9))
    if (height * scale) % 1 == 0 and (width * scale) % 1 == 0 and scale in (1 / 4, 1 / 2, 1.0, 2):
        assert np.array_equal(imresize(image[::-1, ::-1], scale), result[::-1, ::-1])


def test_scale_one_changes_nothing(noise):
    assert np.array_equal(imresize(noise, 1.0), noise)


def test_floats_are_neither_rounded_nor_clipped(noise):
    """A float ramp beyond 0..255 goes through linearly; MATLAB treats doubles so."""
    floats = noise.astype(np.float32)
    shifted = imresize(floats * 2 - 300, 3)
    assert shifted.dtype == np.float32 and shifted.min() < 0 and shifted.max() > 255
    assert np.allclose(shifted, imresize(floats, 3) * 2 - 300, atol=1e-3)


def test_strips_are_the_whole(noise, monkeypatch):
    whole = imresize(noise, 3)
    monkeypatch.setattr(bicubic, "_STRIP_SAMPLES", 48 * 3 * 3 * 5)
    parts = dict(strips(noise, 3))
    assert len(parts) > 10 and list(parts)[1] == 5
    assert np.array_equal(np.concatenate(list(parts.values())), whole)


def test_crop_to_multiple(noise):
    assert crop_to_multiple(noise[:35, :47], 4).shape == (32, 44, 3)
    assert np.array_equal(crop_to_multiple(noise, 5), noise[:35, :45])


@pytest.mark.pack
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_official_files_bit_for_bit(pack: Path, scale: int):
    """The low-resolution Set5 that papers download, made by MATLAB."""
    folder = pack / "data" / "eval"
    for file in sorted((folder / "Set5").glob("*.png")):
        hr = crop_to_multiple(np.array(Pillow.open(file).convert("RGB")), scale)
        official = Pillow.open(folder / "Set5_LR_official" / f"{file.stem}x{scale}.png")
        ours = imresize(hr, 1 / scale, round_passes=scale != 8)
        assert np.array_equal(ours, np.array(official.convert("RGB"))), file.stem

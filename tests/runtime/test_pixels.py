"""Pixels survive the way into an artifact's tensors and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgesr.errors import BadFileError, UsageError
from edgesr.manifest import Manifest, Quantization
from edgesr.runtime.pixels import check_image, to_image, to_tensor

ALL = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)


def manifest(**facts):
    base = Manifest("n", "n.tflite", "t", "fp32", 1, "rgb", 1.0, "NHWC", "float32", None, None)
    return replace(base, **facts)


def quantized(dtype: str, scale: float, zero_point: int, **facts):
    q = Quantization(scale, zero_point)
    return manifest(dtype=dtype, input_quantization=q, output_quantization=q, **facts)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    "facts",
    [
        manifest(),
        manifest(value_range=255.0),
        manifest(dtype="float16"),
        quantized("uint8", 1 / 255, 0),
        quantized("int8", 1 / 255, -128),
        quantized("int8", 1.0, -128, value_range=255.0),
    ],
)
def test_every_pixel_value_comes_back(facts, layout):
    facts = replace(facts, layout=layout)
    tensor = to_tensor(ALL, facts)
    assert tensor.dtype == facts.dtype and tensor.flags.c_contiguous
    assert tensor.shape == ((1, 16, 16, 3) if layout == "NHWC" else (1, 3, 16, 16))
    np.testing.assert_array_equal(to_image(tensor, facts), ALL)


def test_raw_pixels_are_fed_as_they_are():
    np.testing.assert_array_equal(to_tensor(ALL, quantized("uint8", 1 / 255, 0))[0], ALL)
    signed = to_tensor(ALL, quantized("int8", 1 / 255, -128))[0].astype(int)
    np.testing.assert_array_equal(signed, ALL.astype(int) - 128)


def test_coarse_scales_saturate_instead_of_wrapping():
    codes = to_tensor(ALL, quantized("int8", 1 / 127, 0))[0]
    assert codes.max() == 127 and codes.min() == 0
    back = to_image(codes[None], quantized("int8", 1 / 127, 0)).astype(int)
    assert np.abs(back - ALL).max() <= 1


def test_floats_round_half_to_even_and_clip():
    halves = np.array([0.5, 1.5, 2.5, 254.5, 300, -7], np.float32).reshape(1, 1, 2, 3)
    got = to_image(halves, manifest(value_range=255.0))
    assert got.reshape(-1).tolist() == [0, 2, 2, 254, 255, 0]


def test_nan_is_an_error_not_a_black_pixel():
    broken = np.full((1, 1, 1, 3), np.nan, np.float32)
    with pytest.raises(BadFileError, match="NaN"):
        to_image(broken, manifest())


@pytest.mark.parametrize(
    "facts",
    [
        manifest(dtype="uint8"),
        manifest(dtype="complex64"),
        quantized("uint8", 0.0, 0),
        manifest(layout="HWCN"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(facts):
    with pytest.raises(BadFileError):
        to_tensor(ALL, facts)


@pytest.mark.parametrize(
    "image",
    [ALL[..., :1], ALL.astype(np.float32), ALL[..., 0], ALL[:15], ALL[:0]],
)
def test_images_of_another_kind_are_refused(image):
    with pytest.raises(UsageError):
        check_image(image, manifest(height=16, width=16))

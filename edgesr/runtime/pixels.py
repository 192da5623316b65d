"""Images to an artifact's tensors and back, as its manifest spells them.

A pixel has 256 values, so whatever an artifact wants to read (floats in [0, 1] or [0, 255], codes
with a scale and a zero point) is a table of 256 entries. The way back is a table for integers;
floats are rounded half to even, `clip(rint(y / value_range * 255), 0, 255)`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesr.errors import BadFileError, UsageError
from edgesr.manifest import Manifest, Quantization

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]

_FLOATS = ("float32", "float16")
_CODES = ("uint8", "int8")


def to_tensor(image: Image, manifest: Manifest) -> Array:
    """uint8 HxWxC to 1xHxWxC or 1xCxHxW in the artifact's element type.

    Raises:
        BadFileError: the manifest names an unknown type or layout, or codes without their scale.
    """
    table = _encoding(manifest.dtype, manifest.value_range, manifest.input_quantization)
    planes = np.take(table, image)
    if manifest.layout == "NCHW":
        planes = np.ascontiguousarray(planes.transpose(2, 0, 1))
    elif manifest.layout != "NHWC":
        raise BadFileError(f"the manifest of {manifest.artifact} has layout {manifest.layout!r}")
    return planes[None]


def to_image(tensor: Array, manifest: Manifest) -> Image:
    """The artifact's output to uint8 sHxsWxC.

    Raises:
        BadFileError: not the type the manifest gives, or not a number (NaN weights).
    """
    if tensor.dtype != np.dtype(manifest.dtype):
        raise BadFileError(
            f"{manifest.artifact} puts out {tensor.dtype}, its manifest says {manifest.dtype}"
        )
    if manifest.dtype in _CODES:
        table = _decoding(manifest.dtype, manifest.value_range, manifest.output_quantization)
        pixels = np.take(table, tensor[0].view(np.uint8))
    else:
        real = tensor[0].astype(np.float32, copy=False) * np.float32(255 / manifest.value_range)
        if np.isnan(real.max()):
            raise BadFileError(f"{manifest.network} computes NaN: its weights are broken")
        pixels = np.clip(np.rint(real, out=real), 0, 255, out=real).astype(np.uint8)
    if manifest.layout == "NCHW":
        pixels = pixels.transpose(1, 2, 0)
    return np.ascontiguousarray(pixels)


def check_image(image: Image, manifest: Manifest) -> None:
    """What `Session.run` takes: uint8 HxWxC of the artifact's size.

    Raises:
        UsageError: another type, number of channels or size.
    """
    channels = 3 if manifest.colour == "rgb" else 1
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
        raise UsageError(
            f"{manifest.network} takes uint8 HxWx{channels}, not {image.dtype} of {image.shape}"
        )
    for side, fixed, name in zip(
        image.shape[:2], (manifest.height, manifest.width), ("height", "width"), strict=True
    ):
        if side < 1 or (fixed is not None and side != fixed) or side % manifest.pad_multiple:
            wanted = f"{fixed}" if fixed else f"a multiple of {manifest.pad_multiple}"
            raise UsageError(
                f"{manifest.artifact} takes a {name} of {wanted}, not {side}; "
                "`edgesr.runtime.upscale` takes images of any size"
            )


@lru_cache(maxsize=32)
def _encoding(dtype: str, value_range: float, quantization: Quantization | None) -> Array:
    real = np.arange(256) / 255 * value_range
    if dtype not in _FLOATS:
        scale, zero_point = _quantization(dtype, quantization)
        limits = np.iinfo(dtype)
        real = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max)
    table: Array = real.astype(dtype)
    return table


@lru_cache(maxsize=32)
def _decoding(dtype: str, value_range: float, quantization: Quantization | None) -> Image:
    """Indexed by the code's bits read as uint8."""
    scale, zero_point = _quantization(dtype, quantization)
    codes = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
    real = (codes - zero_point) * scale
    return np.clip(np.rint(real / value_range * 255), 0, 255).astype(np.uint8)


def _quantization(dtype: str, quantization: Quantization | None) -> tuple[float, int]:
    if dtype not in _CODES:
        raise BadFileError(f"a manifest names the element type {dtype!r}, which edgesr cannot feed")
    if quantization is None or not quantization.scale > 0:
        raise BadFileError(f"a manifest names {dtype} input or output without scale and zero point")
    return quantization.scale, quantization.zero_point

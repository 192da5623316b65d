"""Noise of cameras: Gaussian (electronics) and Poisson (light itself).

Real-ESRGAN (Wang et al., ICCV Workshops 2021, section 3.1): either kind, in grey or colour.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesr.data.bicubic import Image
from edgesr.errors import UsageError


def gaussian_noise(
    image: Image, sigma: float, rng: np.random.Generator, *, grey: bool = False
) -> Image:
    """`image + sigma n`, n standard normal.

    Args:
        image: uint8 HxWxC.
        sigma: standard deviation in levels of 0 to 255.
        grey: the same n for all channels.
    """
    shape = (*image.shape[:2], 1) if grey else image.shape
    return _rounded(image + sigma * rng.standard_normal(shape))


def poisson_noise(
    image: Image, scale: float, rng: np.random.Generator, *, grey: bool = False
) -> Image:
    """Photon noise: `image + scale (P(v) - v)`, P(v) a Poisson count of mean v.

    Its variance is `scale^2` times the level. Grey noise follows the mean of the channels.

    Args:
        image: uint8 HxWxC; levels are taken for counts.
        scale: 0 leaves the image alone.

    Raises:
        UsageError: a negative scale.
    """
    if scale < 0:
        raise UsageError(f"Poisson noise of scale {scale:g}: it cannot be negative")
    level = image.mean(axis=2, keepdims=True) if grey else image.astype(np.float64)
    return _rounded(image + scale * (rng.poisson(level) - level))


def _rounded(values: npt.NDArray[np.float64]) -> Image:
    # Halves to even: photon counts times 1/2 have many, and upwards would brighten.
    pixels: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels

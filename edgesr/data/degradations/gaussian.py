"""Gaussian blur, isotropic or anisotropic, before an image is made smaller.

The kernels of blind and zero-shot super-resolution: ZSSR (Shocher et al., CVPR 2018), KernelGAN,
and MZSR (Soh et al., CVPR 2020, section 4.1), which draws

    k(x) ~ exp(-1/2 (x - m)^T S^-1 (x - m)),    S = R(theta) diag(lambda1, lambda2) R(theta)^T

with theta from [0, pi], lambda1 from [1, 2.5 s], lambda2 from [1, lambda1], 15x15 taps, at scale s.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from edgesr.data.bicubic import Image, Pixels, imresize
from edgesr.errors import UsageError

Kernel = npt.NDArray[np.float64]
Method = Literal["direct", "bicubic"]

SIZE = 15
"""Side of MZSR's kernels."""


def centring(scale: int) -> float:
    """Where the first low-resolution pixel has its centre, in high-resolution pixels.

    Every `scale`-th pixel, beginning with the first, lies half a pixel off that at x2. A kernel
    with this `shift` puts the result where bicubic reduction puts it.
    """
    return (scale - 1) / 2


def anisotropic_gaussian(
    size: int, lambda1: float, lambda2: float, theta: float, *, shift: float = 0.0
) -> Kernel:
    """A Gaussian whose spread depends on the direction.

    Args:
        size: side in pixels.
        lambda1, lambda2: variances (squares of the widths) along its two axes, in pixels^2.
        theta: angle from the horizontal to the first axis, in radians, down being positive.
        shift: of the centre, right and down, in pixels; `centring(scale)` for direct subsampling.

    Returns:
        size x size, sum 1.

    Raises:
        UsageError: a size or variance that is not positive.
    """
    if size < 1 or lambda1 <= 0 or lambda2 <= 0:
        raise UsageError(
            f"a Gaussian of {size} pixels with variances {lambda1:g} and {lambda2:g}: all three "
            "must be positive"
        )
    rotation = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    inverse = rotation @ np.diag([1 / lambda1, 1 / lambda2]) @ rotation.T
    offset = np.arange(size) - (size - 1) / 2 - shift
    x, y = np.meshgrid(offset, offset)
    exponent = inverse[0, 0] * x**2 + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y**2
    # The smallest exponent is taken out: a narrow kernel between two pixels would be all zeros.
    kernel = np.exp(-(exponent - exponent.min()) / 2)
    total: Kernel = kernel / kernel.sum()
    return total


def isotropic_gaussian(size: int, sigma: float, *, shift: float = 0.0) -> Kernel:
    """The same width `sigma` (in pixels) in every direction; MATLAB's `fspecial('gaussian')`."""
    return anisotropic_gaussian(size, sigma**2, sigma**2, 0.0, shift=shift)


def random_anisotropic(
    rng: np.random.Generator, scale: int, *, size: int = SIZE, shift: float = 0.0
) -> Kernel:
    """A kernel as MZSR draws them for meta-training at `scale`."""
    lambda1 = rng.uniform(1.0, 2.5 * scale)
    lambda2 = rng.uniform(1.0, lambda1)
    return anisotropic_gaussian(size, lambda1, lambda2, rng.uniform(0.0, np.pi), shift=shift)


def blur(image: Pixels, kernel: Kernel) -> Pixels:
    """Weigh every pixel's neighbourhood by `kernel`; borders are mirrored, the edge repeated.

    Args:
        image: HxWxC; uint8 is rounded, float32 is not.
        kernel: its centre is at index (side - 1) // 2.
    """
    weighted = _weighted(image, kernel)
    return _to_uint8(weighted) if image.dtype == np.uint8 else weighted  # type: ignore[return-value]


def blur_downscale(image: Pixels, kernel: Kernel, scale: int, method: Method = "direct") -> Pixels:
    """Blur, then keep every `scale`-th pixel (`direct`, g^d) or reduce with bicubic (g^b).

    Args:
        image: HxWxC, both sides multiples of `scale`; uint8 is rounded once, at the end.
        kernel: for `direct` made with `shift=centring(scale)`, or the result lies off centre.

    Raises:
        UsageError: sides that do not divide.
    """
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise UsageError(f"{width}x{height} does not divide by {scale}; crop the image first")
    weighted = _weighted(image, kernel)
    small = weighted[::scale, ::scale] if method == "direct" else imresize(weighted, 1 / scale)
    if image.dtype == np.uint8:
        return _to_uint8(small)  # type: ignore[return-value]
    return np.ascontiguousarray(small)  # type: ignore[return-value]


def _weighted(image: npt.NDArray[np.generic], kernel: Kernel) -> npt.NDArray[np.float32]:
    rows, columns = kernel.shape
    top, left = (rows - 1) // 2, (columns - 1) // 2
    around = ((top, rows - 1 - top), (left, columns - 1 - left), (0, 0))
    padded = np.pad(image.astype(np.float32), around, mode="symmetric")
    planes = torch.from_numpy(padded).permute(2, 0, 1)[:, None]
    taps = torch.from_numpy(kernel.astype(np.float32))[None, None]
    result: npt.NDArray[np.float32] = F.conv2d(planes, taps)[:, 0].permute(1, 2, 0).numpy()
    return result


def _to_uint8(values: npt.NDArray[np.float32]) -> Image:
    pixels: Image = np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    return pixels

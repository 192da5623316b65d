"""Estimate the blur of a low-resolution image, when nobody knows it.

Sharp photographs share a spectrum: power falls as `A / |f|^b` with b near 2 (Field, JOSA A 1987).
A Gaussian blur of covariance S multiplies it by `exp(-4 pi^2 f' S f)`, keeping every s-th pixel
folds it at the new Nyquist frequency, and rounding to 8 bits adds a floor. That is a model with
five unknowns for the periodogram of the image, which is fitted by Whittle's likelihood,

    - sum over f of   log M(f) + P(f) / M(f),

with a Gaussian prior on b, since slope and blur can stand in for each other. Only the blur is of
interest. Images with few details of their own, or whose edges all have one direction, are misread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgesr.data.colour import luma
from edgesr.data.degradations.gaussian import SIZE, Kernel, anisotropic_gaussian
from edgesr.data.images import Image
from edgesr.errors import UsageError

SMALLEST = 32
"""Pixels on a side."""
_SLOPE, _SLOPE_SPREAD = 2.0, 0.1
_PRIOR_WEIGHT = 100
"""Neighbouring frequencies of a photograph are not independent: as many count as one."""
_MOST_FREQUENCIES = 20_000
_LOWEST = 0.04
"""Cycles per pixel. Below lies what is in the picture, not how sharp it is."""
_ROUNDING = 1 / 24
"""Power of 8-bit rounding in luma, grey levels squared: of three channels, half cancels."""
_LEAST, _MOST = 0.2, 12.0
"""Range of variances, in high-resolution pixels squared."""


@dataclass(frozen=True)
class Estimate:
    """An anisotropic Gaussian; variances in high-resolution pixels squared, `theta` in radians."""

    lambda1: float
    lambda2: float
    theta: float

    def kernel(self, size: int = SIZE) -> Kernel:
        """The blur as a matrix."""
        return anisotropic_gaussian(size, self.lambda1, self.lambda2, self.theta)


def estimate_kernel(image: Image, scale: int) -> Estimate:
    """The Gaussian blur that `image`, uint8 HxWx3, most likely had before it was subsampled.

    Raises:
        UsageError: the image is too small, or flat.
    """
    if min(image.shape[:2]) < SMALLEST:
        raise UsageError(
            f"the image is {image.shape[1]}x{image.shape[0]}: too small to estimate its blur from, "
            f"{SMALLEST} pixels are needed on both sides; give the kernel as a file"
        )
    power, rows, columns = _periodogram(image)
    if float(power.mean()) < 1e-3:
        raise UsageError("the image is flat: there is nothing to estimate a blur from")
    return _fit(power, rows / scale, columns / scale, scale)


def _periodogram(image: Image) -> tuple[Tensor, Tensor, Tensor]:
    """Power per frequency of the windowed luma, and the frequencies in cycles per pixel."""
    plane = luma(image)
    windows = [np.hanning(side + 2)[1:-1] for side in plane.shape]
    window = np.outer(*windows)
    window /= math.sqrt(float((window**2).mean()))
    plane = (plane - (plane * window**2).sum() / (window**2).sum()) * window
    power = np.abs(np.fft.rfft2(plane)) ** 2 / plane.size
    rows = np.fft.fftfreq(plane.shape[0])[:, None] * np.ones(power.shape[1])
    columns = np.fft.rfftfreq(plane.shape[1])[None] * np.ones((power.shape[0], 1))
    kept = np.flatnonzero(np.hypot(rows, columns) > _LOWEST)
    kept = kept[:: 1 + len(kept) // _MOST_FREQUENCIES]
    planes = (torch.from_numpy(values.reshape(-1)[kept]) for values in (power, rows, columns))
    return tuple(planes)  # type: ignore[return-value]


def _fit(power: Tensor, rows: Tensor, columns: Tensor, scale: int) -> Estimate:
    """Maximize the likelihood over level, slope, and the covariance's Cholesky factor."""
    folds = torch.arange(-(scale // 2) - 1, scale // 2 + 2) / scale
    shift_y, shift_x = torch.meshgrid(folds, folds, indexing="ij")
    # Every high-resolution frequency that subsampling folds onto each low-resolution one.
    y, x = rows + shift_y.reshape(-1, 1), columns + shift_x.reshape(-1, 1)
    inside = ((y.abs() <= 0.5) & (x.abs() <= 0.5)).double()
    distance = torch.hypot(x, y).clamp_min(1e-3)
    level = torch.log(power.mean()).item() - 4.0
    unknown = torch.tensor([level, _SLOPE, 1.2, 1.2, 0.0], dtype=torch.float64)
    unknown.requires_grad_()
    optimizer = torch.optim.LBFGS([unknown], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        height, slope, across, down, mixed = unknown
        # |L' f|^2 with covariance L L'.
        spread = (across * x + mixed * y) ** 2 + (down * y) ** 2
        bands = torch.exp(height - slope * torch.log(distance) - 4 * math.pi**2 * spread) * inside
        model = bands.sum(0) + _ROUNDING
        prior = ((slope - _SLOPE) / _SLOPE_SPREAD) ** 2 / 2
        fit = (torch.log(model) + power / model).mean()
        value: Tensor = fit + prior * _PRIOR_WEIGHT / len(power)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    _, _, across, down, mixed = unknown.detach().tolist()
    covariance = np.array([[across**2, across * mixed], [across * mixed, mixed**2 + down**2]])
    (small, large), axes = np.linalg.eigh(covariance)
    theta = math.atan2(axes[1, 1], axes[0, 1]) % math.pi
    bounds = np.clip([large, small], _LEAST, _MOST)
    return Estimate(float(bounds[0]), float(bounds[1]), theta)

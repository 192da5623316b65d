"""The structural similarity of Wang et al. (IEEE TIP 2004) as a loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """`1 - SSIM`, equation 13, per channel, over windows that lie inside the image.

    The window is the 11x11 Gaussian of `edgesr.metrics.ssim`; sides of at least 11 pixels.
    """
    channels = sr.shape[1]
    offset = torch.arange(_WINDOW, device=sr.device, dtype=sr.dtype) - _WINDOW // 2
    line = torch.exp(-offset.square() / (2 * _SIGMA**2))
    line = (line / line.sum()).expand(channels, 1, 1, -1)

    def mean(x: Tensor) -> Tensor:
        rows = F.conv2d(x, line, groups=channels)
        return F.conv2d(rows, line.transpose(2, 3), groups=channels)

    # Variances are differences of nearly equal numbers: bfloat16 has too few digits for them.
    with torch.autocast(sr.device.type, enabled=False):
        mean_a, mean_b = mean(sr), mean(hr)
        variance_a = mean(sr * sr) - mean_a**2
        variance_b = mean(hr * hr) - mean_b**2
        covariance = mean(sr * hr) - mean_a * mean_b
        similarity = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
        similarity = similarity / (mean_a**2 + mean_b**2 + _C1) / (variance_a + variance_b + _C2)
    return 1 - similarity.mean()

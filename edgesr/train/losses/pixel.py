"""Losses that look at one pixel at a time."""

from __future__ import annotations

from torch import Tensor


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """`mean |sr - hr|`."""
    return (sr - hr).abs().mean()


def l2(sr: Tensor, hr: Tensor) -> Tensor:
    """`mean (sr - hr)^2`, which is what PSNR measures."""
    return (sr - hr).square().mean()


def charbonnier(sr: Tensor, hr: Tensor, epsilon: float = 1e-3) -> Tensor:
    """`mean sqrt((sr - hr)^2 + epsilon^2)`: L1 with a round bottom.

    Lai et al., "Deep Laplacian Pyramid Networks", CVPR 2017, equation 3.
    """
    return ((sr - hr).square() + epsilon**2).sqrt().mean()

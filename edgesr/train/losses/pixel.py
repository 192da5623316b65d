"""Losses that look at one pixel at a time."""

from __future__ import annotations

from torch import Tensor

from edgesr.data.colour import DENOMINATOR, NUMERATORS


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


def psnr(sr: Tensor, hr: Tensor, floor: float = 1e-4) -> Tensor:
    """Minus the mean PSNR of the batch in dB, in luma (BT.601) where the images are RGB.

    What tables of super-resolution report, where L2 counts an image more the worse it is. Says
    nothing of colour: add a little L2. Chen et al., "HINet", CVPR Workshops 2021, equation 4.

    Args:
        sr: NxCxHxW in [0, 1]; C is 3, or 1 for luma.
        hr: as `sr`.
        floor: mean squared error that is added: patches without texture would outweigh all others.
    """
    error = sr - hr
    if error.shape[1] == 3:
        # Not as a product of matrices, which bfloat16 training would round.
        weights = error.new_tensor(NUMERATORS[0]) / DENOMINATOR
        error = (error * weights[:, None, None]).sum(1)
    return 10 * (error.square().flatten(1).mean(1) + floor).log10().mean()

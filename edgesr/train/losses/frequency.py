"""Losses between spectra: an edge that is a little soft costs as much as it looks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgesr.errors import SizeMismatchError


def fft(sr: Tensor, hr: Tensor) -> Tensor:
    """`mean (|Re F(sr - hr)| + |Im F(sr - hr)|) / 2`, F the orthonormal 2-D Fourier transform.

    L1 over real and imaginary parts as in Cho et al., "Rethinking Coarse-to-Fine Approach in
    Single Image Deblurring" (ICCV 2021), equation 7; the transform is linear, so the difference
    is transformed once. Orthonormal, so that its size does not grow with the patch.
    """
    spectrum = torch.fft.rfft2(sr - hr, norm="ortho")
    return torch.view_as_real(spectrum).abs().mean()


def dct(sr: Tensor, hr: Tensor, block: int = 8) -> Tensor:
    """`mean |D (sr - hr) D^T|` over blocks, D the orthonormal DCT-II of JPEG.

    Raises:
        SizeMismatchError: a side that does not divide by `block`.
    """
    height, width = sr.shape[-2:]
    if height % block or width % block:
        raise SizeMismatchError(
            f"the DCT loss cuts blocks of {block}; {width}x{height} does not divide: choose a "
            f"patch whose enlarged side is a multiple of {block}"
        )
    basis = _basis(block, sr)
    rows, columns = height // block, width // block
    tiles = (sr - hr).reshape(*sr.shape[:-2], rows, block, columns, block)
    with torch.autocast(sr.device.type, enabled=False):
        spectrum = torch.einsum("ui,...iaj,vj->...uav", basis, tiles, basis)
    return spectrum.abs().mean()


def _basis(block: int, like: Tensor) -> Tensor:
    """Rows are frequencies: `D[u, i] = c_u cos(pi u (2 i + 1) / (2 block))`."""
    place = torch.arange(block, device=like.device, dtype=like.dtype)
    basis = torch.cos(math.pi / (2 * block) * place[:, None] * (2 * place[None, :] + 1))
    basis *= math.sqrt(2 / block)
    basis[0] /= math.sqrt(2)
    return basis

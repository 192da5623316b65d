"""ZSSR: a small network that is trained from nothing on the one image it enlarges.

Shocher, Cohen and Irani, "Zero-Shot Super-Resolution using Deep Internal Learning", CVPR 2018,
section 3.3: eight convolutions of 64 channels with ReLU on the bicubic enlargement, and the
enlargement added. That is MZSR's network too, so it has no name of its own in the registry: what
makes it ZSSR is `edgesr.adapt.self_training`.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesr.models.mzsr import MZSR


def zssr(scale: int, *, channels: int = 64, layers: int = 8, seed: int = 0) -> MZSR:
    """An untrained network that begins as bicubic enlargement: its last convolution is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = MZSR(scale, channels, layers)
    for parameter in module.convs[-1].parameters():
        nn.init.zeros_(parameter)
    return module

"""RLFN's contrastive loss: nearer to the original, farther from the bicubic enlargement.

Kong et al., "Residual Local Feature Network for Efficient Super-Resolution", CVPR Workshops 2022,
section 3.3: deep features of a classifier bring out what does not matter for PSNR; features of a
shallow, randomly initialized Conv-Tanh-Conv bring out edges and texture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHANNELS = 64
_KERNEL = 3
_SEED = 2022
_EPSILON = 1e-7


class Contrastive(nn.Module):
    """`||f(sr) - f(hr)||_1 / (||f(sr) - f(bicubic(lr))||_1 + epsilon)`, equation 5 with one layer.

    `f` is fixed: the same random weights in every run, as buffers that nothing trains.

    Args:
        channels: width of both convolutions.
    """

    def __init__(self, channels: int = _CHANNELS) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(_SEED)
        first = torch.empty(channels, 3, _KERNEL, _KERNEL)
        second = torch.empty(channels, channels, _KERNEL, _KERNEL)
        for weight in (first, second):
            nn.init.kaiming_normal_(weight, generator=random)
        self.first: Tensor
        self.second: Tensor
        # Always the same: no need to be in a state file.
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)

    def features(self, image: Tensor) -> Tensor:
        """`Conv(Tanh(Conv(image)))`; luma counts as grey."""
        rgb = image if image.shape[1] == 3 else image.expand(-1, 3, -1, -1)
        margin = _KERNEL // 2
        hidden = torch.tanh(F.conv2d(rgb, self.first, padding=margin))
        return F.conv2d(hidden, self.second, padding=margin).float()

    def forward(self, sr: Tensor, hr: Tensor, lr: Tensor) -> Tensor:
        with torch.no_grad():
            enlarged = F.interpolate(lr, sr.shape[-2:], mode="bicubic").clamp(0, 1)
            positive, negative = self.features(hr), self.features(enlarged)
        anchor = self.features(sr)
        near, far = (anchor - positive).abs().mean(), (anchor - negative).abs().mean()
        return near / (far + _EPSILON)

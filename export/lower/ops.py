"""Operators that only lowered graphs contain: NHWC's pixel shuffle, written on NCHW tensors.

`depth_to_space(x, block)`: 1 x (block*block*C) x H x W -> 1 x C x (block*H) x (block*W). Channel
`(row * block + column) * C + colour` becomes pixel (row, column) of its block: ONNX's mode DCR,
TFLite's DEPTH_TO_SPACE. torch's `pixel_shuffle` reads `(colour * block + row) * block + column`
(mode CRD). `space_to_depth` is the inverse.

Both are compositions of views, so autograd, fake tensors and `meta` tensors work through them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("edgesr", "DEF")
_LIBRARY.define("depth_to_space(Tensor x, int block) -> Tensor")
_LIBRARY.define("space_to_depth(Tensor x, int block) -> Tensor")


def _depth_to_space(x: Tensor, block: int) -> Tensor:
    n, depth, height, width = x.shape
    channels = depth // block**2
    pixels = x.reshape(n, block, block, channels, height, width).permute(0, 3, 4, 1, 5, 2)
    return pixels.reshape(n, channels, height * block, width * block)


def _space_to_depth(x: Tensor, block: int) -> Tensor:
    n, channels, height, width = x.shape
    pixels = x.reshape(n, channels, height // block, block, width // block, block)
    planes = pixels.permute(0, 3, 5, 1, 2, 4)
    return planes.reshape(n, channels * block**2, height // block, width // block)


_LIBRARY.impl("depth_to_space", _depth_to_space, "CompositeImplicitAutograd")
_LIBRARY.impl("space_to_depth", _space_to_depth, "CompositeImplicitAutograd")

depth_to_space = torch.ops.edgesr.depth_to_space.default
space_to_depth = torch.ops.edgesr.space_to_depth.default

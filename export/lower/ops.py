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

_LIBRARY = torch.library.Library("edgesr", "DEF")  # type: ignore[no-untyped-call]


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


for _function in (_depth_to_space, _space_to_depth):
    _name = _function.__name__.removeprefix("_")
    _LIBRARY.define(f"{_name}(Tensor x, int block) -> Tensor")  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _function, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call]

depth_to_space = torch.ops.edgesr.depth_to_space.default
space_to_depth = torch.ops.edgesr.space_to_depth.default

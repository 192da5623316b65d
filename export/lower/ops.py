"""Operators that only lowered graphs contain: NHWC's shuffles of pixels, on NCHW tensors.

`depth_to_space(x, block)`: 1 x (block*block*C) x H x W -> 1 x C x (block*H) x (block*W). Channel
`(row * block + column) * C + colour` becomes pixel (row, column) of its block: ONNX's mode DCR,
TFLite's DEPTH_TO_SPACE. torch's `pixel_shuffle` reads `(colour * block + row) * block + column`
(mode CRD). `space_to_depth` is the inverse.

`stack_rows(x, block)`: 1 x (block*C) x H x (block*W) -> 1 x C x (block*H) x (block*W). The columns
are `block` maps side by side, one per row of the blocks; channel `column * C + colour` becomes a
pixel of that row. In NHWC nothing moves: it is a reshape.

All are compositions of views, so autograd, fake tensors and `meta` tensors work through them.
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


def _stack_rows(x: Tensor, block: int) -> Tensor:
    n, depth, height, width = x.shape
    channels, columns = depth // block, width // block
    pixels = x.reshape(n, block, channels, height, block, columns).permute(0, 2, 3, 4, 5, 1)
    return pixels.reshape(n, channels, height * block, columns * block)


for _function in (_depth_to_space, _space_to_depth, _stack_rows):
    _name = _function.__name__.removeprefix("_")
    _LIBRARY.define(f"{_name}(Tensor x, int block) -> Tensor")  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _function, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call]

depth_to_space = torch.ops.edgesr.depth_to_space.default
space_to_depth = torch.ops.edgesr.space_to_depth.default
stack_rows = torch.ops.edgesr.stack_rows.default

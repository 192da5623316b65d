"""Nearest neighbour: every `scale`-th pixel, nothing averaged. What thumbnails of old cameras and
careless code do; aliasing is part of it."""

from __future__ import annotations

import numpy as np

from edgesr.data.bicubic import Pixels


def nearest_downscale(image: Pixels, scale: int) -> Pixels:
    """The pixel at the centre of each `scale x scale` block (below and right of it when even).

    Args:
        image: HxWxC.

    Returns:
        H // scale x W // scale x C.
    """
    height, width = (side // scale * scale for side in image.shape[:2])
    first = scale // 2
    small = image[first:height:scale, first:width:scale]
    return np.ascontiguousarray(small)  # type: ignore[return-value]

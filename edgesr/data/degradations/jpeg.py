"""JPEG and back, as pictures travel."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as Pillow

from edgesr.data.bicubic import Image
from edgesr.errors import UsageError


def jpeg(image: Image, quality: int, *, subsampled: bool = True) -> Image:
    """Encode and decode.

    Args:
        image: uint8 HxWx3.
        quality: libjpeg's, 1 to 95.
        subsampled: chroma at half the resolution (4:2:0), as cameras and messengers do.

    Raises:
        UsageError: a quality that libjpeg does not have.
    """
    if not 1 <= quality <= 95:
        raise UsageError(f"JPEG quality {quality}: it runs from 1 to 95")
    stream = io.BytesIO()
    Pillow.fromarray(image).save(
        stream, "JPEG", quality=quality, subsampling=2 if subsampled else 0
    )
    with Pillow.open(stream) as decoded:
        return np.array(decoded.convert("RGB"))

"""16-bit image files as 8 bits, rounded instead of cut.

Pillow has no 16-bit RGB; asked for one, it keeps the high byte of every sample. That is a floor,
up to one level too dark. Here the file is decoded twice, the second time with the raw mode of the
other byte order, which yields the low bytes; both together are the exact samples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from edgesr.errors import BadFileError

Samples = npt.NDArray[np.uint16]

_BITS, _PHOTOMETRIC, _PLANAR = 258, 262, 284
_LOW = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""The byte order that reads the low byte where the key reads the high one."""


def eight_bits(file: Any, reopen: Callable[[], Any], name: str) -> tuple[Any, int]:
    """The picture with at most 8 bits per sample.

    Args:
        file: an opened Pillow image.
        reopen: opens the same file once more.
        name: for error messages.

    Returns:
        A Pillow image (`file` itself when it has 8 bits already), and the file's bits per sample.

    Raises:
        BadFileError: 32-bit samples, whose range no file states; 16 bits in separate planes.
    """
    if file.mode in ("I", "F"):
        raise BadFileError(
            f"{name} holds 32-bit or signed samples of unknown range; convert it to 8 or 16 bits"
        )
    tags = getattr(file, "tag_v2", {})
    if max(tags.get(_BITS, (8,))) > 8 and tags.get(_PLANAR, 1) != 1:
        raise BadFileError(f"{name} keeps 16-bit samples in separate planes; save it interleaved")
    args = file.tile[0][3] if file.tile else ""
    rawmode = str(args if isinstance(args, str) else args[0])
    if "16" not in rawmode:
        return file, 8
    samples = _samples(file, reopen, rawmode)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "CMYK" if file.mode == "CMYK" else "RGBA"}
    rounded = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    height, width, channels = rounded.shape
    return Pillow.frombytes(mode[channels], (width, height), rounded.tobytes()), 16


def _samples(file: Any, reopen: Callable[[], Any], rawmode: str) -> Samples:
    if file.mode.startswith("I;16"):
        samples: Samples = np.asarray(file).astype(np.uint16)[..., None]
        if getattr(file, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # white is zero
            samples = np.uint16(65535) - samples
    elif rawmode == "LA;16B":
        samples = _decode(file, "RGBA").view(">u2").astype(np.uint16)
    else:
        straight = rawmode.replace("RGBa", "RGBA")
        with reopen() as again:
            low = _decode(again, straight[:-1] + _LOW[straight[-1]])
        samples = _decode(file, straight).astype(np.uint16) * np.uint16(256) + low
        if straight != rawmode:
            samples = _unpremultiplied(samples)
    key = file.info.get("transparency")
    if isinstance(key, (int, tuple)) and samples.shape[2] in (1, 3):
        shown = np.any(samples != np.array(key, np.uint16), axis=2, keepdims=True)
        samples = np.concatenate([samples, shown.astype(np.uint16) * 65535], axis=2)
    return samples


def _decode(file: Any, rawmode: str) -> npt.NDArray[np.uint8]:
    """Pixels of a file that has not been decoded yet, its bytes read as `rawmode`."""
    file.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:]))
        for tile in file.tile
    ]
    return np.asarray(file)


def _unpremultiplied(samples: Samples) -> Samples:
    """Colours that a TIFF stores multiplied by alpha, as they were before."""
    alpha = np.maximum(samples[..., 3:].astype(np.uint64), 1)
    colour = np.minimum((samples[..., :3].astype(np.uint64) * 65535 + alpha // 2) // alpha, 65535)
    return np.concatenate([colour.astype(np.uint16), samples[..., 3:]], axis=2)

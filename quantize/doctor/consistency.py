"""LR consistency: a picture that is reduced again should give its input. Needs no ground truth.

Of int8 and of what it is compared with, so that one sees whether quantization is to blame. See
`edgesr.metrics.consistency` for what the figure says and what it does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from edgesr.quantize.doctor import remedies
from edgesr.quantize.doctor.diagnosis import Diagnosis, Finding, Severity

from edgesr.data.bicubic import imresize
from edgesr.data.colour import luma
from edgesr.data.images import Image

MARGIN = 2
"""Pixels of the input at the side of a piece, where the reduction would read beyond it."""
ALARM = 40.0
"""dB. A cast of three steps of 255 is at 38.6; plain-m-x3 is at 61 on the shipped photos, its int8
form at 60."""


@dataclass
class BackTally:
    """Squared errors on luma between reduced pictures and their input, over pieces."""

    int8: float = 0.0
    reference: float = 0.0
    pixels: int = 0

    def include(self, lr: Image, int8: Image, rounded: Image) -> None:
        """Add a piece of the input and what int8 and the reference made of it; uint8 HxWxC."""
        if min(lr.shape[:2]) <= 2 * MARGIN:
            return
        given = _luma(lr)
        self.int8 += _error(int8, given)
        self.reference += _error(rounded, given)
        self.pixels += (given.shape[0] - 2 * MARGIN) * (given.shape[1] - 2 * MARGIN)

    def figures(self) -> tuple[float, float] | None:
        """dB of int8 and of the reference; None if every piece was too small."""
        if not self.pixels:
            return None
        return _decibels(self.int8 / self.pixels), _decibels(self.reference / self.pixels)


def consistency(d: Diagnosis) -> Iterator[Finding]:
    """Whether the pictures lead back to their inputs."""
    ours, theirs = d.mean("int8_back"), d.mean("reference_back")
    if ours is None:
        return
    known = theirs is not None
    figure = f"{ours:.1f} dB" + (f", {d.reference} {theirs:.1f} dB" if known else "")
    if ours >= ALARM:
        yield Finding(
            Severity.OK, "LR consistency", "", figure, "reduced again, the picture is its input"
        )
        return
    if theirs is not None and theirs >= ALARM:
        yield Finding(
            Severity.NOTICE, "LR consistency", "", figure,
            "reduced again, int8's picture is not its input: a cast, or structure that was not "
            "there", "correct the biases by the mean error", remedies.correct(d.ptq_of),
            ALARM - ours,
        )  # fmt: skip
        return
    yield Finding(
        Severity.NOTICE, "LR consistency", "", figure,
        "the network itself does not lead back to its input: it was trained to change pictures "
        "(blur, noise), or it shifts or tints them", "compare its picture with the photo", "",
        ALARM - ours,
    )  # fmt: skip


def _error(enlarged: Image, given: npt.NDArray[np.float64]) -> float:
    """Squared errors, summed, inside the margin."""
    rows, columns = (a / b for a, b in zip(given.shape, enlarged.shape[:2], strict=True))
    inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return float(np.square((_luma(imresize(enlarged, (rows, columns))) - given)[inner]).sum())


def _luma(pixels: Image) -> npt.NDArray[np.float64]:
    return luma(pixels) if pixels.shape[2] == 3 else pixels[..., 0].astype(np.float64)


def _decibels(error: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)

"""Where output pixels lie on the input grid, for any scale.

Output pixel `i` of an axis enlarged by `r` has its centre at `(i + 1/2) / r - 1/2` input pixels
(ArbSR, section 3.3). With `r = p / q` that is a whole number over `2 p`, so which input pixel it
belongs to, and where inside it, is computed in whole numbers: exact, and the same every `p` pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from edgesr.scales import enlarged


@dataclass(frozen=True)
class Sites:
    """Output pixels along one axis, from one before the first to one after the last.

    The pixel more at each end is what a 3x3 convolution over the output reads beyond the border:
    computed like any other, instead of zero, the enlargement is the same map everywhere, and can
    be folded into one convolution, borders included.
    """

    centre: Tensor
    """In input pixels, from the centre of the first."""
    within: Tensor
    """From the centre of the input pixel it belongs to: -1/2 to 1/2."""
    pixel: Tensor
    """The input pixel it belongs to (int64); without the two at the ends."""
    inverse: Tensor
    """One over the scale."""
    inverse_number: float = 0.0
    """The same, where it is known before the graph runs."""

    @property
    def count(self) -> int:
        """Output pixels, without the two at the ends."""
        return self.pixel.shape[0]


def sites(side: int, ratio: Fraction, like: Tensor) -> Sites:
    """The output pixels of `side` input pixels.

    Args:
        like: a tensor of the element type wanted.
    """
    numerator, denominator = ratio.numerator, ratio.denominator
    output = torch.arange(-1, enlarged(side, ratio) + 1, device=like.device)
    doubled = (2 * output + 1) * denominator
    pixel = torch.div(doubled, 2 * numerator, rounding_mode="floor")
    within = (doubled - 2 * numerator * pixel).to(like.dtype) / (2 * numerator) - 0.5
    return Sites(
        centre=pixel.to(like.dtype) + within,
        within=within,
        pixel=pixel[1:-1],
        inverse=torch.tensor(denominator / numerator, device=like.device).to(like.dtype),
        inverse_number=denominator / numerator,
    )


def sites_of(output: Tensor, scale: Tensor) -> Sites:
    """The same where the scale is an input of the graph.

    Args:
        output: 0, 1, 2, ... to the last output pixel, floats.
        scale: one number.
    """
    beyond = torch.cat([output[:1] - 1, output, output[-1:] + 1])
    place = (beyond + 0.5) / scale
    # A pixel whose centre falls on the border of two must fall to the right one, whatever the
    # rounding of the division. With scales of two decimals no other centre comes as close.
    pixel = torch.floor(place + 3e-4)
    return Sites(place - 0.5, place - pixel - 0.5, pixel[1:-1].long(), 1 / scale)

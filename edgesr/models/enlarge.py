"""The last step of a network for any scale: maps to output pixels, each linear in its input.

`Enlarge` adds them up. At a fixed scale `p / q` the sum repeats every `p` output pixels, so it is
one convolution of stride `q` with a filter per pixel of the period, and a shuffle of `p x p`
channels into pixels: `Periodic`, made by `Enlarge.folded`. It reads zeros where the maps do, so
it equals them up to the border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.sites import Sites, sites
from edgesr.scales import Scale, ratios

Window = tuple[Tensor, Tensor]
"""Input rows and columns that a filter covers, counted from the first of the period; floats."""


class Part(nn.Module):
    """A map that is linear in `x`, and the same everywhere up to the place inside a period."""

    channels: int
    """Of its input."""

    def forward(self, x: Tensor, rows: Sites, columns: Sites) -> Tensor:
        """`N x channels x h x w` to the `N x 3 x H x W` output pixels of `rows` and `columns`."""
        raise NotImplementedError

    def reach(self, rows: Sites, columns: Sites) -> tuple[int, int]:
        """Input pixels beyond the period, at either side, that its output pixels read."""
        raise NotImplementedError

    def filters(self, rows: Sites, columns: Sites, window: Window) -> Tensor:
        """The filter of every output pixel of a period: `H x W x 3 x channels x h x w`, `h` and
        `w` those of the window."""
        raise NotImplementedError

    def bias(self) -> Tensor | None:
        """What is added to each colour."""
        return None


class Nearest(Part):
    """Each output pixel takes the input pixel it belongs to."""

    channels = 3

    def forward(self, x: Tensor, rows: Sites, columns: Sites) -> Tensor:
        return x.index_select(2, rows.pixel).index_select(3, columns.pixel)

    def reach(self, rows: Sites, columns: Sites) -> tuple[int, int]:
        return 0, 0

    def filters(self, rows: Sites, columns: Sites, window: Window) -> Tensor:
        down, across = (
            (axis.pixel[:, None] == covered).to(covered)
            for axis, covered in zip((rows, columns), window, strict=True)
        )
        return torch.einsum("hn,wm,jk->hwjknm", down, across, torch.eye(3).to(down))


class Enlarge(nn.Module):
    """The sum of `parts`, one input each."""

    def __init__(self, *parts: Part) -> None:
        super().__init__()
        self.parts: Sequence[Part] = nn.ModuleList(parts)  # type: ignore[assignment]

    def forward(self, inputs: Sequence[Tensor], rows: Sites, columns: Sites) -> Tensor:
        images = [part(x, rows, columns) for part, x in zip(self.parts, inputs, strict=True)]
        total: Tensor = images[0]
        for image in images[1:]:
            total = total + image
        return total

    def folded(self, scale: Scale, largest: int) -> Periodic | None:
        """The same at one scale as convolutions; None if a filter would hold more than `largest`
        numbers, as where neither factor is a ratio of small numbers.

        Gradients flow through the filters to what they were made of.
        """
        like = next(self.parameters())
        vertical, horizontal = ratios(scale)
        periods = vertical.denominator, horizontal.denominator
        rows, columns = sites(periods[0], vertical, like), sites(periods[1], horizontal, like)
        reaches = [part.reach(rows, columns) for part in self.parts]
        for part, reach in zip(self.parts, reaches, strict=True):
            covered = math.prod(q + 2 * r for q, r in zip(periods, reach, strict=True))
            if rows.count * columns.count * 3 * part.channels * covered > largest:
                return None
        kernels = [
            part.filters(rows, columns, _window(periods, reach, like))
            for part, reach in zip(self.parts, reaches, strict=True)
        ]
        biases = [bias for part in self.parts if (bias := part.bias()) is not None]
        bias = sum(biases[1:], biases[0]) if biases else None
        return Periodic(kernels, bias, periods, reaches)


def _window(periods: tuple[int, int], reach: tuple[int, int], like: Tensor) -> Window:
    down, across = (
        torch.arange(-beyond, period + beyond).to(like)
        for period, beyond in zip(periods, reach, strict=True)
    )
    return down, across


class Periodic(nn.Module):
    """One strided convolution per input, added up, and one shuffle of channels into pixels.

    Args:
        kernels: per input, `H x W x 3 x C x h x w`: a filter per output pixel of the period.
        bias: of each colour.
        periods: input pixels of a period, which are the strides. Sizes must divide by them.
        reaches: per input, the padding.
    """

    def __init__(
        self,
        kernels: Sequence[Tensor],
        bias: Tensor | None,
        periods: tuple[int, int],
        reaches: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.rows, self.columns = kernels[0].shape[:2]
        self.periods, self.reaches = periods, tuple(reaches)
        self.square = self.rows == self.columns
        for number, kernel in enumerate(kernels):
            # Channels as torch's pixel shuffle counts them, colour first; or colour last, as
            # `rectangle_to_space` does.
            order = (2, 0, 1, 3, 4, 5) if self.square else (0, 1, 2, 3, 4, 5)
            setattr(self, f"kernel{number}", _stored(kernel.permute(order).flatten(0, 2)))
        pixels = self.rows * self.columns
        repeated = None
        if bias is not None:
            repeated = bias.repeat_interleave(pixels) if self.square else bias.repeat(pixels)
        self.bias = _stored(repeated)

    def forward(self, inputs: Sequence[Tensor], rows: Sites, columns: Sites) -> Tensor:
        total = None
        for number, (x, reach) in enumerate(zip(inputs, self.reaches, strict=True)):
            bias = self.bias if number == 0 else None
            kernel = getattr(self, f"kernel{number}")
            y = F.conv2d(x, kernel, bias, stride=self.periods, padding=reach)
            total = y if total is None else total + y
        assert total is not None
        if self.square:
            return F.pixel_shuffle(total, self.rows)
        image: Tensor = rectangle_to_space(total, self.rows, self.columns)
        return image


def _stored(value: Tensor | None) -> Tensor | None:
    """A weight to keep; one that still has a history, as in training, stays as it is."""
    if value is None or value.requires_grad:
        return value
    return nn.Parameter(value.contiguous(), requires_grad=False)


def _rectangle_to_space(x: Tensor, rows: int, columns: int) -> Tensor:
    batch, channels, height, width = x.shape
    colours = channels // (rows * columns)
    blocks = x.reshape(batch, rows, columns, colours, height, width)
    pixels = blocks.permute(0, 3, 4, 1, 5, 2)
    return pixels.reshape(batch, colours, height * rows, width * columns)


def _space_to_rectangle(x: Tensor, rows: int, columns: int) -> Tensor:
    batch, colours, height, width = x.shape
    pixels = x.reshape(batch, colours, height // rows, rows, width // columns, columns)
    blocks = pixels.permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(batch, -1, height // rows, width // columns)


# An operator of its own, so that a graph and an analysis see it in one piece.
_LIBRARY = torch.library.Library("edgesr", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("rectangle_to_space(Tensor x, int rows, int columns) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.impl(  # type: ignore[no-untyped-call]
    "rectangle_to_space",
    lambda x, rows, columns: _rectangle_to_space(x, rows, columns).contiguous(),
    "CompositeExplicitAutograd",
)


def _remember(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
    ctx.block = inputs[1:]


torch.library.register_autograd(
    "edgesr::rectangle_to_space",
    lambda ctx, gradient: (_space_to_rectangle(gradient, *ctx.block), None, None),
    setup_context=_remember,
    lib=_LIBRARY,
)

rectangle_to_space = torch.ops.edgesr.rectangle_to_space.default
"""`(x, rows, columns)`: channels `(row, column, colour)` to blocks of `rows x columns` pixels."""

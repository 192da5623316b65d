"""Linear maps of images, and how they compose.

Every tensor of a linear region is an affine function of a few *root* tensors:

    y[o, i] = bias[o] + sum over roots r, channels c, taps u of
              kernel_r[o, c, u] * r~[c, stride * i + u + offset]

where `r~` is the root continued with zeros outside its image, `i` counts pixels of `y`, and `u`
those of the kernel (rows and columns alike). The size of `y` follows from the size `n` of a root:

    size(y) = ceil((n + growth) / stride)

so `growth` is 0 for "same" padding, -2 for an unpadded 3x3, +2 for a frame of one pixel of zeros.
All numbers here are float64.

Composing two such maps gives such a map again, with one exception. Padding writes a constant
around `y`, where the formula says something else as soon as `y` has a bias, or a kernel that
reaches from outside back into the image. `pad` keeps the formula and marks the map inexact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, fx
from torch.nn import functional as F

NEGLIGIBLE = 1e-13
"""A bias this small is rounding of a zero (a batch norm that undoes what was added before it)."""


class Pair(NamedTuple):
    """The same quantity for rows and for columns."""

    rows: int
    columns: int

    def plus(self, rows: int, columns: int) -> Pair:
        return Pair(self.rows + rows, self.columns + columns)


NONE = Pair(0, 0)
ONE = Pair(1, 1)


class Sides(NamedTuple):
    """Pixels added at each side; negative ones are cut off."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, eq=False)
class Term:
    """What one root contributes."""

    kernel: Tensor
    """float64, out x in x rows x columns."""
    offset: Pair = NONE
    """Root pixel under the kernel's first tap, relative to `stride` times the output pixel."""
    growth: Pair = NONE
    stride: Pair = ONE
    spare: Pair = NONE
    """By how much less growth gives the same size, the root's size being a multiple."""
    grouped: bool = False
    """Made by a grouped convolution: its kernel may be block-diagonal."""
    dilated: bool = False
    """Made by a dilated convolution: its kernel may have regular holes."""

    def same_grid(self, other: Term) -> bool:
        return (self.growth, self.stride, self.spare) == (other.growth, other.stride, other.spare)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """An affine function of its roots, valid at every pixel if `exact`."""

    terms: Mapping[fx.Node, Term]
    bias: Tensor
    """float64, one per output channel."""
    exact: bool = True

    @property
    def channels(self) -> int:
        return int(self.bias.numel())


def identity(root: fx.Node, channels: int) -> LinearMap:
    """The map of a root onto itself."""
    eye = torch.eye(channels, dtype=torch.float64)[:, :, None, None]
    return LinearMap({root: Term(eye)}, torch.zeros(channels, dtype=torch.float64))


def is_eye(kernel: Tensor) -> bool:
    """Whether a kernel copies each channel."""
    out, channels, rows, columns = kernel.shape
    if out != channels or (rows, columns) != (1, 1):
        return False
    return bool(torch.equal(kernel[:, :, 0, 0], torch.eye(out, dtype=kernel.dtype)))


def convolve(
    inner: LinearMap,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    stride: Pair = ONE,
    dilation: Pair = ONE,
    groups: int = 1,
) -> LinearMap:
    """An unpadded convolution after `inner`.

    With L the weight and K the kernel of `inner`, whose pixels are `s` root pixels apart:

        (L after K)[o, c, w] = sum of L[o, m, v] * K[m, c, u] over v * dilation * s + u = w
    """
    weight = weight.to(torch.float64)
    rows, columns = weight.shape[2:]
    terms = {}
    for root, term in inner.terms.items():
        step = Pair(term.stride.rows * dilation.rows, term.stride.columns * dilation.columns)
        terms[root] = Term(
            kernel=_compose(weight, term.kernel, step, groups),
            offset=term.offset,
            growth=term.growth.plus(-step.rows * (rows - 1), -step.columns * (columns - 1)),
            stride=Pair(term.stride.rows * stride.rows, term.stride.columns * stride.columns),
            spare=term.spare,
            grouped=term.grouped or groups > 1,
            dilated=term.dilated or dilation != ONE,
        )
    # The convolution of a constant, channel by channel.
    constant = F.conv2d(
        inner.bias[None, :, None, None], weight.sum((2, 3), keepdim=True), groups=groups
    ).flatten()
    if bias is not None:
        constant = constant + bias.to(torch.float64)
    return replace(inner, terms=terms, bias=constant)


def work_to_compose(inner: LinearMap, weight: Tensor) -> int:
    """Multiply-accumulates that `convolve` needs, roughly; nothing for a copy."""
    kernels = [t.kernel for t in inner.terms.values() if not is_eye(t.kernel)]
    return sum(k[0].numel() * weight.numel() for k in kernels)


def _compose(weight: Tensor, kernel: Tensor, step: Pair, groups: int) -> Tensor:
    if groups == 1 and step == ONE and is_eye(kernel):
        return weight
    reach = [step.rows * (weight.shape[2] - 1), step.columns * (weight.shape[3] - 1)]
    flipped = weight.flip((2, 3))
    images = kernel.transpose(0, 1)
    return F.conv2d(images, flipped, padding=reach, dilation=step, groups=groups).transpose(0, 1)


def pad(inner: LinearMap, sides: Sides, value: float = 0.0) -> LinearMap:
    """`inner` with a frame of `value` around it (cut where a side is negative).

    Exact where the formula itself gives `value` all over the frame: the bias is `value`, and the
    kernel does not reach from the frame into the root. At the frame's innermost row, -1, the
    kernel's last tap reads root row `rows - 1 + offset - stride`, which must be negative; at the
    other end its first tap reads at least row `n + growth + offset`, which must not be below n.
    """
    exact = inner.exact
    if max(sides) > 0:
        exact = exact and bool((inner.bias - value).abs().max() <= NEGLIGIBLE)
    terms = {}
    for root, term in inner.terms.items():
        rows, columns = term.kernel.shape[2:]
        exact = (
            exact
            and (sides.top <= 0 or rows + term.offset.rows <= term.stride.rows)
            and (sides.bottom <= 0 or term.growth.rows + term.offset.rows >= 0)
            and (sides.left <= 0 or columns + term.offset.columns <= term.stride.columns)
            and (sides.right <= 0 or term.growth.columns + term.offset.columns >= 0)
        )
        down, across = term.stride
        terms[root] = replace(
            term,
            offset=term.offset.plus(-down * sides.top, -across * sides.left),
            growth=term.growth.plus(
                down * (sides.top + sides.bottom), across * (sides.left + sides.right)
            ),
        )
    return replace(inner, terms=terms, exact=exact)


def every(inner: LinearMap, stride: Pair) -> LinearMap:
    """Every `stride`-th row and column, from the first."""
    terms = {
        root: replace(
            term,
            stride=Pair(term.stride.rows * stride.rows, term.stride.columns * stride.columns),
        )
        for root, term in inner.terms.items()
    }
    return replace(inner, terms=terms)


def on_whole_blocks(inner: LinearMap, block: int) -> LinearMap:
    """The same map, where the last window of `block` pixels is known to be a whole one."""
    terms = {
        root: replace(
            term, growth=term.growth.plus(block - 1, block - 1), spare=Pair(block - 1, block - 1)
        )
        for root, term in inner.terms.items()
    }
    return replace(inner, terms=terms)


def scale(inner: LinearMap, factors: Tensor) -> LinearMap:
    """Each output channel times its factor."""
    terms = {
        root: replace(term, kernel=term.kernel * factors[:, None, None, None])
        for root, term in inner.terms.items()
    }
    return replace(inner, terms=terms, bias=inner.bias * factors)


def shift(inner: LinearMap, constants: Tensor) -> LinearMap:
    """Each output channel plus its constant."""
    return replace(inner, bias=inner.bias + constants)


def select(inner: LinearMap, channels: Sequence[int]) -> LinearMap:
    """These output channels, in this order; one may come more than once."""
    index = torch.tensor(channels, dtype=torch.long)
    terms = {root: replace(t, kernel=t.kernel[index]) for root, t in inner.terms.items()}
    return replace(inner, terms=terms, bias=inner.bias[index])


def add(left: LinearMap, right: LinearMap) -> LinearMap | None:
    """Their sum; None where the two do not lie on the same grid of a root they share."""
    terms = dict(left.terms)
    for root, term in right.terms.items():
        if root in terms:
            if not terms[root].same_grid(term):
                return None
            terms[root] = _sum(terms[root], term)
        else:
            terms[root] = term
    return LinearMap(terms, left.bias + right.bias, left.exact and right.exact)


def concatenate(maps: Sequence[LinearMap]) -> LinearMap | None:
    """Their output channels one after the other; None as in `add`."""
    total = sum(m.channels for m in maps)
    result: LinearMap | None = None
    start = 0
    for part in maps:
        before, after = start, total - start - part.channels
        terms = {
            root: replace(term, kernel=F.pad(term.kernel, (0, 0, 0, 0, 0, 0, before, after)))
            for root, term in part.terms.items()
        }
        spread = LinearMap(terms, F.pad(part.bias, (before, after)), part.exact)
        result = spread if result is None else add(result, spread)
        if result is None:
            return None
        start += part.channels
    return result


def _sum(left: Term, right: Term) -> Term:
    """Kernels aligned at their offsets, then added."""
    top = min(left.offset.rows, right.offset.rows)
    near = min(left.offset.columns, right.offset.columns)
    bottom = max(t.offset.rows + t.kernel.shape[2] for t in (left, right))
    far = max(t.offset.columns + t.kernel.shape[3] for t in (left, right))

    def spread(term: Term) -> Tensor:
        rows, columns = term.kernel.shape[2:]
        above, before = term.offset.rows - top, term.offset.columns - near
        after, below = far - near - columns - before, bottom - top - rows - above
        return F.pad(term.kernel, (before, after, above, below))

    return replace(
        left,
        kernel=spread(left) + spread(right),
        offset=Pair(top, near),
        grouped=left.grouped or right.grouped,
        dilated=left.dilated or right.dilated,
    )

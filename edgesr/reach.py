"""How far an operator sees: windows of input pixels, composed along a network.

Along one axis, pixel `p` of a tensor reads the image's pixels from `step * p + low` to
`step * p + high`. Every operator maps such a line to another one; the fractions are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

Known = Sequence[tuple[Tensor, "Reach | None"]]


@dataclass(frozen=True)
class Line:
    """The window along one axis."""

    step: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    def then(self, stride: Fraction, first: Fraction | int, last: Fraction | int) -> Line:
        """The window of a pixel that reads `stride * p + first ... stride * p + last` of this."""
        return Line(self.step * stride, self.low + self.step * first, self.high + self.step * last)


@dataclass(frozen=True)
class Reach:
    """The window of a tensor's pixels; None in its place means the whole image."""

    rows: Line
    columns: Line
    steady: bool = True
    """Whether the window moves with the pixel; False where it also drifts over the image."""

    @staticmethod
    def identity() -> Reach:
        return Reach(Line(), Line())

    @property
    def size(self) -> int:
        """Side of the window, after `per_input_pixel`."""
        return max(int(axis.high - axis.low) + 1 for axis in (self.rows, self.columns))

    @property
    def halo(self) -> int:
        """How far it extends to any side, after `per_input_pixel`."""
        axes = (self.rows, self.columns)
        return max(0, *(int(-axis.low) for axis in axes), *(int(axis.high) for axis in axes))

    def per_input_pixel(self, image: Tensor, output: Tensor) -> Reach:
        """What all output pixels that stand for one input pixel read together, in whole pixels."""
        lines = []
        steady = self.steady
        for line, (before, after) in zip(self._axes(), _sides(image, output), strict=True):
            step = Fraction(before, after)
            steady = steady and line.step == step
            line = _drifting(line, step, after)
            # The cell's last output pixel is 1 - step further on than its first.
            low, high = math.ceil(line.low), math.floor(line.high + 1 - step)
            lines.append(Line(Fraction(1), Fraction(low), Fraction(high)))
        return Reach(lines[0], lines[1], steady)

    def _axes(self) -> tuple[Line, Line]:
        return self.rows, self.columns


def follow(func: Any, args: Any, known: Known, output: Tensor) -> Reach | None:
    """The window of what `func` returned.

    Args:
        func: ATen operator, as a dispatch mode sees it.
        known: its inputs that depend on the image, each with its window.
        output: one of its results.
    """
    if any(reach is None for _, reach in known):
        return None
    image, reach = known[0]
    assert reach is not None
    name = func.overloadpacket.__name__
    if is_pointwise(func) or name in _ALONG_CHANNELS:
        return _union(known, output)
    if name in _MOVES:
        same = output.shape[-2:] == image.shape[-2:]
        return _union(known, output) if same else None
    rule = _RULES.get(name)
    return None if rule is None else rule(reach, image, args, output)


def is_pointwise(func: Any) -> bool:
    """Whether an operator works on each element by itself."""
    # PReLU's kernel lacks the tag that torch gives the others.
    return torch.Tag.pointwise in func.tags or func.overloadpacket.__name__ == "_prelu_kernel"


_ALONG_CHANNELS = {"cat", "native_batch_norm", "_native_batch_norm_legit_no_training"}

# Operators that regroup channels; spatial sides that stay the last two and keep their size.
_MOVES = {
    "view", "_unsafe_view", "_reshape_alias", "expand", "unsqueeze", "squeeze", "select", "split",
    "split_with_sizes", "unbind", "repeat", "alias", "detach", "_to_copy", "index_select",
}  # fmt: skip


def _union(known: Known, output: Tensor) -> Reach | None:
    reaches = [reach for _, reach in known if reach is not None]
    if any(image.shape[-2:] != output.shape[-2:] for image, _ in known):
        return None  # Broadcast over the image: every pixel reads what that tensor read.
    if any(r.rows.step != reaches[0].rows.step for r in reaches) or any(
        r.columns.step != reaches[0].columns.step for r in reaches
    ):
        steady = False
    else:
        steady = all(reach.steady for reach in reaches)
    rows = _widest([reach.rows for reach in reaches], output.shape[-2])
    columns = _widest([reach.columns for reach in reaches], output.shape[-1])
    return Reach(rows, columns, steady)


def _widest(lines: list[Line], length: int) -> Line:
    step = min((line.step for line in lines), key=lambda step: step.denominator)
    lines = [_drifting(line, step, length) for line in lines]
    return Line(step, min(line.low for line in lines), max(line.high for line in lines))


def _drifting(line: Line, step: Fraction, length: int) -> Line:
    """The same windows on a line of another step: as wide as they drift over `length` pixels."""
    drift = (line.step - step) * (length - 1)
    return Line(step, line.low + min(drift, Fraction(0)), line.high + max(drift, Fraction(0)))


def _sides(image: Tensor, output: Tensor) -> list[tuple[int, int]]:
    return [(image.shape[-2], output.shape[-2]), (image.shape[-1], output.shape[-1])]


def _each(reach: Reach, stride: Any, first: Any, last: Any) -> Reach:
    """Apply `Line.then` to both axes, each with its own numbers."""
    return replace(
        reach,
        rows=reach.rows.then(Fraction(stride[0]), first[0], last[0]),
        columns=reach.columns.then(Fraction(stride[1]), first[1], last[1]),
    )


def _pair(value: Any) -> list[int]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return items * 2 if len(items) == 1 else items


def _convolution(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
    _, weight, _, stride, padding, dilation, transposed = args[:7]
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if transposed:
        inverse = [Fraction(1, s) for s in stride]
        first = [(p - span) * i for p, span, i in zip(padding, spans, inverse, strict=True)]
        return _each(reach, inverse, first, [p * i for p, i in zip(padding, inverse, strict=True)])
    last = [span - p for span, p in zip(spans, padding, strict=True)]
    return _each(reach, stride, [-p for p in padding], last)


def _pool(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
    kernel = _pair(args[1])
    stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
    padding = _pair(args[3]) if len(args) > 3 else [0, 0]
    last = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
    return _each(reach, stride, [-p for p in padding], last)


def _shuffle(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
    steps = [Fraction(1, block) for block in (args[1], args[-1])]  # one block, or rows and columns
    return _each(reach, steps, [step - 1 for step in steps], (0, 0))


def _unshuffle(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
    block = args[1]
    return _each(reach, (block, block), (0, 0), (block - 1, block - 1))


def _pad(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
    sides = [*args[1], 0, 0, 0, 0]
    left, top = -sides[0], -sides[2]
    return _each(reach, (1, 1), (top, left), (top, left))


def _slice(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
    given = list(args[1:])
    dim, start, _, step = given + [0, None, None, 1][len(given) :]
    axis = dim % image.ndim - (image.ndim - 2)
    if axis < 0:
        return reach
    length = image.shape[dim]
    start = start or 0
    start = min(max(start + length if start < 0 else start, 0), length)
    stride, first = [1, 1], [0, 0]
    stride[axis], first[axis] = step, start
    return _each(reach, stride, first, first)


def _nearest(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
    ratios = [Fraction(before, after) for before, after in _sides(image, output)]
    back = [Fraction(1 - ratio.denominator, ratio.denominator) for ratio in ratios]
    return _each(reach, ratios, back, (0, 0))


def _interpolate(taps: int) -> Any:
    """Bilinear reads one pixel to either side of a point between pixels, bicubic two."""

    def rule(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach:
        corners = next((a for a in args[1:] if isinstance(a, bool)), False)
        stride, low, high = [], [], []
        for before, after in _sides(image, output):
            if corners:
                ratio, shift = Fraction(before - 1, max(after - 1, 1)), Fraction(0)
                grain = ratio.denominator
            else:
                ratio = Fraction(before, after)
                shift, grain = (ratio - 1) / 2, 2 * ratio.denominator
            margin = taps - Fraction(1, grain)  # a tap one whole pixel away weighs nothing
            stride.append(ratio)
            low.append(shift - margin)
            high.append(shift + margin)
        return _each(reach, stride, low, high)

    return rule


def _reduce(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach | None:
    dims = _pair(args[1]) if len(args) > 1 and args[1] is not None else range(image.ndim)
    spatial = {dim % image.ndim for dim in dims} & {image.ndim - 2, image.ndim - 1}
    return None if spatial or output.shape[-2:] != image.shape[-2:] else reach


def _permute(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach | None:
    last = [dim % image.ndim for dim in args[1][-2:]]
    return reach if last == [image.ndim - 2, image.ndim - 1] else None


def _transpose(reach: Reach, image: Tensor, args: Any, output: Tensor) -> Reach | None:
    dims = {dim % image.ndim for dim in args[1:3]}
    return None if dims & {image.ndim - 2, image.ndim - 1} else reach


_RULES: dict[str, Any] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pool,
    "avg_pool2d": _pool,
    "pixel_shuffle": _shuffle,
    "depth_to_space": _shuffle,
    "rectangle_to_space": _shuffle,
    "pixel_unshuffle": _unshuffle,
    "constant_pad_nd": _pad,
    "reflection_pad2d": _pad,
    "replication_pad2d": _pad,
    "slice": _slice,
    "upsample_nearest2d": _nearest,
    "upsample_bilinear2d": _interpolate(1),
    "upsample_bicubic2d": _interpolate(2),
    "permute": _permute,
    "transpose": _transpose,
    "mean": _reduce,
    "sum": _reduce,
    "amax": _reduce,
    "var": _reduce,
    "_softmax": _reduce,
}

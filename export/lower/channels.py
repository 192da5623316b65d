"""Where channels come from: seeing through slices, concatenations and one-hot convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from edgesr.export.lower.editor import Editor, arguments
from torch import fx

from edgesr.graph import aten, is_call

Source = tuple[fx.Node, int]
"""A node and one of its channels."""


@dataclass(frozen=True)
class Anchor:
    """A tensor that holds every channel of `root` `times` times: the nearest-neighbour skip."""

    root: fx.Node
    times: int
    order: tuple[int, ...]
    """Channel of the root, for every channel."""

    @property
    def whole_copies(self) -> bool:
        """Whether it is the root, again and again: the order depth-to-space reads."""
        width = len(self.order) // self.times
        return self.order == tuple(range(width)) * self.times

    @property
    def runs(self) -> bool:
        """Whether each channel stands `times` times in a row: the order pixel shuffle reads."""
        return self.order == tuple(sorted(self.order))


def sources(editor: Editor, node: fx.Node) -> list[Source]:
    """For every channel of `node`, the earliest node and channel it is a plain copy of."""
    if is_call(node, aten.slice.Tensor) and arguments(node)[1] in (1, -3):
        x, _, start, end, step = arguments(node)
        if all(isinstance(bound, int) for bound in (start, end, step)):
            return sources(editor, x)[start:end:step]
    if is_call(node, aten.cat.default) and arguments(node)[1] in (1, -3):
        return [s for part in arguments(node)[0] for s in sources(editor, part)]
    picked = one_hot_rows(editor, node)
    if picked is not None:
        inner = sources(editor, arguments(node)[0])
        return [inner[channel] for channel in picked]
    return [(node, channel) for channel in range(editor.width(node))]


def anchor_of(editor: Editor, node: fx.Node) -> Anchor | None:
    """`node` as an anchor, or None if it is not one (or copies nothing twice)."""
    copying = (aten.cat.default, aten.conv2d.default)
    if not is_call(node, *copying) or len(editor.shape(node)) != 4:
        return None
    found = sources(editor, node)
    root = found[0][0]
    order = tuple(channel for _, channel in found)
    width = editor.width(root)
    times = len(order) // width
    if root is node or times < 2 or any(other is not root for other, _ in found):
        return None
    if sorted(order) != sorted(list(range(width)) * times):
        return None
    return Anchor(root, times, order)


def one_hot_rows(editor: Editor, node: fx.Node) -> list[int] | None:
    """The input channel that each output channel of a 1x1 convolution copies; None if it mixes."""
    if not is_call(node, aten.conv2d.default):
        return None
    _, weight, bias, stride, padding, _, groups = arguments(node)
    value = editor.constant(weight)
    if value is None or tuple(value.shape[2:]) != (1, 1) or groups != 1:
        return None
    if stride != [1, 1] or padding != [0, 0]:
        return None
    offset = editor.constant(bias)
    if (bias is not None and offset is None) or (offset is not None and bool(offset.any())):
        return None
    rows = value[:, :, 0, 0]
    if not bool(((rows == 0) | (rows == 1)).all()) or not bool((rows.sum(1) == 1).all()):
        return None
    return [int(channel) for channel in rows.argmax(1)]


def pick(editor: Editor, x: fx.Node, order: Sequence[int], before: fx.Node) -> fx.Node:
    """`x[:, order]` as a one-hot 1x1 convolution, which every target runs fast."""
    rows = torch.eye(editor.width(x), dtype=editor.dtype)[list(order)]
    weight = editor.add_constant(rows[:, :, None, None], f"{x.name}_order", before)
    return editor.call(
        aten.conv2d.default, x, weight, None, [1, 1], [0, 0], [1, 1], 1, before=before, like=x
    )  # fmt: skip


def depth_order(channels: int, block: int) -> list[int]:
    """Pixel shuffle's channel at each position of depth-to-space: `d2s(x[:, order])` is
    `pixel_shuffle(x)`."""
    area = block * block
    return [colour * area + place for place in range(area) for colour in range(channels)]

"""Pixel shuffle becomes depth-to-space; its channel order goes into the weights before it.

    pixel_shuffle(f(conv(x; W, b)), s)   =>   depth_to_space(f(conv(x; W[p], b[p])), s)
    p = depth_order(C, s)

The permutation p travels up through clips, activations, sums and products (per-channel constants
and PReLU slopes are permuted on the way) until it meets convolutions, whose rows it permutes, and
anchors, which are spelled anew. A convolution that reads a permuted tensor, as in a residual,
has its columns permuted too. Where a tensor on the way has another reader, or something else
(a plain concat, a pooling) is met, one one-hot 1x1 convolution before the shuffle does it.
Exact: channels only change places.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from edgesr.export.lower.channels import Anchor, anchor_of, depth_order, pick
from edgesr.export.lower.editor import Editor, arguments
from edgesr.export.lower.hoist import BINARY, POINTWISE
from edgesr.export.lower.ops import depth_to_space
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


@dataclass
class _Region:
    """What a permutation passes on its way up from a shuffle."""

    passed: set[fx.Node] = field(default_factory=set)
    convolutions: list[fx.Node] = field(default_factory=list)
    anchors: dict[fx.Node, Anchor] = field(default_factory=dict)
    slopes: list[fx.Node] = field(default_factory=list)
    constants: list[tuple[fx.Node, int]] = field(default_factory=list)
    """(binary operator, position of its per-channel constant)."""


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done: list[str] = []
    if forms.shuffle != "depth_to_space":
        return done
    for shuffle in editor.nodes:
        if not is_call(shuffle, aten.pixel_shuffle.default):
            continue
        x, block = arguments(shuffle)
        assert isinstance(x, fx.Node) and isinstance(block, int)
        order = depth_order(editor.width(shuffle), block)
        how = "is already right"
        if order != sorted(order):
            region = _explore(editor, shuffle)
            if region is None:
                x = pick(editor, x, order, shuffle)
                how = "is a 1x1 convolution"
            else:
                x = _permute(editor, region, order, shuffle)
                how = f"is in {', '.join(conv.name for conv in region.convolutions) or 'an anchor'}"
        editor.replace(shuffle, editor.call(depth_to_space, x, block, before=shuffle))
        done.append(f"{shuffle.name} is depth-to-space; its channel order {how}")
    return done


def _explore(editor: Editor, shuffle: fx.Node) -> _Region | None:
    """The region above `shuffle` that can take the permutation; None if something cannot."""
    region = _Region()
    width = editor.width(arguments(shuffle)[0])
    todo = [arguments(shuffle)[0]]
    while todo:
        node = todo.pop()
        assert isinstance(node, fx.Node)
        if node in region.passed or node in region.anchors:
            continue
        anchor = anchor_of(editor, node)
        if anchor is not None:
            region.anchors[node] = anchor
            continue
        region.passed.add(node)
        if is_call(node, aten.conv2d.default) and arguments(node)[6] == 1:
            if editor.constant(arguments(node)[1]) is None:
                return None
            region.convolutions.append(node)
        elif is_call(node, *POINTWISE):
            todo.append(arguments(node)[0])
        elif is_call(node, aten.prelu.default):
            region.slopes.append(node)
            todo.append(arguments(node)[0])
        elif is_call(node, *BINARY):
            for position, operand in enumerate(arguments(node)):
                value = editor.constant(operand)
                if value is not None:
                    if value.dim() >= 3 and value.shape[-3] == width:
                        region.constants.append((node, position))
                    elif value.numel() != 1:
                        return None
                elif isinstance(operand, fx.Node) and editor.width(operand) == width:
                    todo.append(operand)
        else:
            return None
    inside = region.passed | {shuffle}
    readers = {user for node in region.passed for user in node.users}
    return region if readers <= inside else None


def _permute(editor: Editor, region: _Region, order: list[int], shuffle: fx.Node) -> fx.Node:
    """Permute the channels of everything in the region; returns what the shuffle now reads."""
    for conv in region.convolutions:
        x, weight, bias, *rest = arguments(conv)
        kernel = editor.constant(weight)
        assert kernel is not None
        # A residual: what this convolution reads is permuted as well.
        columns = order if x in region.passed else list(range(kernel.shape[1]))
        rows = kernel[order][:, columns]
        weight = editor.add_constant(rows, f"{conv.name}_weight", conv)
        offset = editor.constant(bias)
        if offset is not None:
            bias = editor.add_constant(offset[order], f"{conv.name}_bias", conv)
        editor.set_args(conv, x, weight, bias, *rest)
    for node in region.slopes:
        x, weight = arguments(node)
        slopes = editor.constant(weight)
        if slopes is not None and slopes.numel() > 1:
            new = editor.add_constant(slopes[order], f"{node.name}_slopes", node)
            editor.set_args(node, x, new)
    for node, position in region.constants:
        value = editor.constant(arguments(node)[position])
        assert value is not None
        moved = value.index_select(value.dim() - 3, torch.tensor(order))
        args = list(arguments(node))
        args[position] = editor.add_constant(moved, f"{node.name}_order", node)
        editor.set_args(node, *args)
    replaced = {
        node: _reordered(editor, node, anchor, order) for node, anchor in region.anchors.items()
    }
    for node, new in replaced.items():
        for user in list(node.users):
            if user in region.passed:
                user.replace_input_with(node, new)
    x = arguments(shuffle)[0]
    assert isinstance(x, fx.Node)
    return replaced.get(x, x)


def _reordered(editor: Editor, node: fx.Node, anchor: Anchor, order: list[int]) -> fx.Node:
    """A new anchor with the channels in `order`; the old one may have other readers."""
    moved = Anchor(anchor.root, anchor.times, tuple(anchor.order[i] for i in order))
    if moved.whole_copies:
        return editor.call(aten.cat.default, [moved.root] * moved.times, 1, before=node)
    return pick(editor, moved.root, moved.order, node)

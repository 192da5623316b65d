"""Compute on the small side of a pixel shuffle: clips, activations, shifts and scalings.

    f(pixel_shuffle(x))                            =>  pixel_shuffle(f(x))
    pixel_shuffle(x) op c      c per channel       =>  pixel_shuffle(x op c')    c' = c repeated s^2
    pixel_shuffle(x) op pixel_shuffle(y)           =>  pixel_shuffle(x op y)

Exact: the shuffle only moves values. What remains is fused into the convolution before it, and
the shuffle, which writes the output image, stays last.
"""

from __future__ import annotations

from typing import Any

from edgesr.export.lower.editor import Editor, arguments, only_user
from torch import Tensor, fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms

POINTWISE = (
    aten.relu.default, aten.leaky_relu.default, aten.clamp.default, aten.sigmoid.default,
    aten.tanh.default,
)  # fmt: skip
BINARY = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for node in editor.nodes:
        if is_call(node, *POINTWISE):
            args = _small_side(editor, node, arguments(node)[:1])
        elif is_call(node, *BINARY) or is_call(node, aten.prelu.default):
            args = _small_side(editor, node, arguments(node))
        else:
            continue
        if args is None:
            continue
        block, operands = args
        inner = editor.call(node.target, *operands, *arguments(node)[len(operands) :], before=node)
        editor.replace(node, editor.call(aten.pixel_shuffle.default, inner, block, before=node))
        done.append(f"{node.name} stands before the pixel shuffle")
    return done


def _small_side(
    editor: Editor, node: fx.Node, operands: tuple[Any, ...]
) -> tuple[int, list[Any]] | None:
    """The operands as they are before the shuffle, if all of them can be brought there."""
    shuffles = [x for x in operands if is_call(x, aten.pixel_shuffle.default)]
    blocks = {arguments(x)[1] for x in shuffles}
    if len(blocks) != 1 or any(only_user(x) is not node for x in shuffles):
        return None
    if any(editor.shape(x) != editor.shape(node) for x in shuffles):
        return None  # broadcast over space: the small side has another shape
    block = blocks.pop()
    small: list[Any] = []
    for x in operands:
        value = editor.constant(x)
        if x in shuffles:
            small.append(arguments(x)[0])
        elif value is not None:
            repeated = _repeated(value, block, per_channel=is_call(node, aten.prelu.default))
            if repeated is None:
                return None
            same = repeated is value
            small.append(x if same else editor.add_constant(repeated, f"{x.name}_small", node))
        elif isinstance(x, (int, float)):
            small.append(x)
        else:
            return None
    return block, small


def _repeated(value: Tensor, block: int, *, per_channel: bool) -> Tensor | None:
    """A per-channel constant for the small side; None if it varies over space."""
    if value.numel() == 1:
        return value
    if per_channel:
        return value.repeat_interleave(block**2)
    if value.dim() < 3 or value.shape[-1] != 1 or value.shape[-2] != 1:
        return None
    return value.repeat_interleave(block**2, dim=-3)

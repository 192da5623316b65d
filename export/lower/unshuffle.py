"""Pixel unshuffle becomes space-to-depth; its channel order goes into the next convolutions.

    conv(pixel_unshuffle(x, s); W)   =>   conv(space_to_depth(x, s); W[:, p])
    p = depth_order(C, s)

Where anything but a convolution reads it, a one-hot 1x1 convolution restores the order. Exact.
"""

from __future__ import annotations

from edgesr.export.lower.channels import depth_order, pick
from edgesr.export.lower.editor import Editor, arguments
from edgesr.export.lower.ops import space_to_depth
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done: list[str] = []
    if forms.shuffle != "depth_to_space":
        return done
    for node in editor.nodes:
        if not is_call(node, aten.pixel_unshuffle.default):
            continue
        x, block = arguments(node)
        assert isinstance(x, fx.Node) and isinstance(block, int)
        order = depth_order(editor.width(x), block)
        new = editor.call(space_to_depth, x, block, before=node)
        how = "is already right"
        if order != sorted(order):
            readers = list(node.users)
            if all(_takes_columns(editor, node, user) for user in readers):
                for conv in readers:
                    _permute_columns(editor, conv, order)
                how = f"is in {', '.join(conv.name for conv in readers)}"
            else:
                back = sorted(range(len(order)), key=order.__getitem__)
                new = pick(editor, new, back, node)
                how = "is a 1x1 convolution"
        editor.replace(node, new)
        done.append(f"{node.name} is space-to-depth; its channel order {how}")
    return done


def _takes_columns(editor: Editor, node: fx.Node, user: fx.Node) -> bool:
    if not is_call(user, aten.conv2d.default):
        return False
    x, weight, *_, groups = arguments(user)
    return x is node and groups == 1 and editor.constant(weight) is not None


def _permute_columns(editor: Editor, conv: fx.Node, order: list[int]) -> None:
    x, weight, *rest = arguments(conv)
    kernel = editor.constant(weight)
    assert kernel is not None
    new = editor.add_constant(kernel[:, order].contiguous(), f"{conv.name}_weight", conv)
    editor.set_args(conv, x, new, *rest)

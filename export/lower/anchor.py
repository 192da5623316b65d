"""Add the nearest-neighbour skip before the pixels are shuffled, where it costs 1/s^2 as much.

    pixel_shuffle(f, s) + upsample_nearest2d(x, s)   =>   pixel_shuffle(f + n, s)
    n = each channel of x, s^2 times in a row

Exact: the shuffle spreads s^2 equal channels over the s x s pixels that the resize makes equal.
"""

from __future__ import annotations

from edgesr.export.lower.editor import Editor, arguments, only_user
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for add in editor.nodes:
        pair = _shuffle_and_resize(editor, add)
        if pair is None:
            continue
        shuffle, resize = pair
        features, block = arguments(shuffle)
        x = arguments(resize)[0]
        assert isinstance(features, fx.Node) and isinstance(x, fx.Node)
        slices = [
            editor.call(aten.slice.Tensor, x, 1, c, c + 1, 1, before=add, like=resize)
            for c in range(editor.width(x))
        ]
        copies = [piece for piece in slices for _ in range(block**2)]
        anchor = editor.call(aten.cat.default, copies, 1, before=add, like=resize)
        total = editor.call(aten.add.Tensor, features, anchor, before=add)
        editor.replace(add, editor.call(aten.pixel_shuffle.default, total, block, before=add))
        done.append(f"nearest skip of {x.name} is added before the pixel shuffle")
    return done


def _shuffle_and_resize(editor: Editor, add: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    if not is_call(add, aten.add.Tensor):
        return None
    for shuffle, resize in (arguments(add), arguments(add)[::-1]):
        if not is_call(shuffle, aten.pixel_shuffle.default):
            continue
        if not is_call(resize, aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default):
            continue
        assert isinstance(shuffle, fx.Node) and isinstance(resize, fx.Node)
        block = arguments(shuffle)[1]
        small, large = editor.shape(arguments(resize)[0]), editor.shape(resize)
        enlarged = (*small[:2], small[2] * block, small[3] * block)
        if only_user(shuffle) is add and large == enlarged == editor.shape(shuffle):
            return shuffle, resize
    return None

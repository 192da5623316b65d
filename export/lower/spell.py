"""The nearest-neighbour skip, in the form the target runs fastest.

    form "concat":  cat(x, ..., x)                    (its slices, where the order is torch's)
    form "conv":    conv1x1(x; one-hot)
    form "resize":  clip(shuffle(f + n))  =>  clip(shuffle(f) + upsample_nearest2d(x, s))

Exact: every form copies pixels.
"""

from __future__ import annotations

from edgesr.export.lower.channels import Anchor, anchor_of, pick
from edgesr.export.lower.editor import Editor, arguments, only_user
from edgesr.export.lower.merge import bounds
from edgesr.export.lower.ops import depth_to_space
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for node in editor.nodes:
        anchor = anchor_of(editor, node)
        if anchor is None or not (anchor.whole_copies or anchor.runs):
            continue
        if forms.anchor == "resize" and _resize(editor, node, anchor):
            done.append(f"nearest skip of {anchor.root.name} is a resize")
        elif forms.anchor == "conv" and not is_call(node, aten.conv2d.default):
            editor.replace(node, pick(editor, anchor.root, anchor.order, node))
            done.append(f"nearest skip of {anchor.root.name} is a one-hot 1x1 convolution")
        elif forms.anchor == "concat" and not _is_concat(node, anchor):
            editor.replace(node, _concat(editor, node, anchor))
            done.append(f"nearest skip of {anchor.root.name} is a concat")
    return done


def _is_concat(node: fx.Node, anchor: Anchor) -> bool:
    """Whether `node` is a concat already, without slices that take everything."""
    if not is_call(node, aten.cat.default):
        return False
    return not anchor.whole_copies or arguments(node)[0] == [anchor.root] * anchor.times


def _concat(editor: Editor, node: fx.Node, anchor: Anchor) -> fx.Node:
    x = anchor.root
    if anchor.whole_copies:
        return editor.call(aten.cat.default, [x] * anchor.times, 1, before=node)
    slices = [
        editor.call(aten.slice.Tensor, x, 1, c, c + 1, 1, before=node)
        for c in range(editor.width(x))
    ]
    return editor.call(aten.cat.default, [slices[c] for c in anchor.order], 1, before=node)


def _resize(editor: Editor, node: fx.Node, anchor: Anchor) -> bool:
    """Move the skip behind the shuffle that follows it, through clips; False if none follows."""
    add = only_user(node)
    if add is None or not is_call(add, aten.add.Tensor):
        return False
    features = next((x for x in arguments(add) if x is not node), None)
    clips: list[fx.Node] = []
    shuffle = only_user(add)
    while shuffle is not None and bounds(shuffle) is not None:
        clips.append(shuffle)
        shuffle = only_user(shuffle)
    if shuffle is None or not is_call(shuffle, depth_to_space, aten.pixel_shuffle.default):
        return False
    block = arguments(shuffle)[1]
    if not isinstance(block, int) or block**2 != anchor.times or not isinstance(features, fx.Node):
        return False
    in_order = anchor.whole_copies if is_call(shuffle, depth_to_space) else anchor.runs
    if not in_order:
        return False
    large = editor.call(shuffle.target, features, block, before=shuffle)
    factors = [float(block), float(block)]
    resized = editor.call(
        aten.upsample_nearest2d.vec, anchor.root, None, factors, before=shuffle, like=node
    )  # fmt: skip
    result = editor.call(aten.add.Tensor, large, resized, before=shuffle, like=add)
    for clip in clips:
        result = editor.call(clip.target, result, *arguments(clip)[1:], before=shuffle, like=clip)
    editor.replace(shuffle, result)
    return True

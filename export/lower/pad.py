"""Let the convolution pad.

    conv(pad(x, [p, p, q, q], 0), padding)   =>   conv(x, padding + [q, p])

Exact: both put zeros around the map. An uneven pad stays, a writer may know how to spell it.
"""

from __future__ import annotations

from edgesr.export.lower.editor import Editor, arguments
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for conv in editor.nodes:
        pad = arguments(conv)[0] if is_call(conv, aten.conv2d.default) else None
        if not is_call(pad, aten.pad.default):
            continue
        assert isinstance(pad, fx.Node)
        x, sides, mode, value = arguments(pad)
        if mode != "constant" or value not in (None, 0, 0.0) or len(sides) != 4:
            continue
        left, right, top, bottom = sides
        if left != right or top != bottom or min(left, top) < 0:
            continue
        _, weight, bias, stride, padding, dilation, groups = arguments(conv)
        sides = [padding[0] + top, padding[1] + left]
        editor.set_args(conv, x, weight, bias, stride, sides, dilation, groups)
        done.append(f"{pad.name} is the padding of {conv.name}")
    return done

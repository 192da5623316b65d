"""Let the convolution pad.

    conv(pad(x, [p, p, q, q], 0), padding)   =>   conv(x, padding + [q, p])

Exact: both put zeros around the map. An uneven pad stays, a writer may know how to spell it.
"""

from __future__ import annotations

from edgesr.export.lower.editor import Editor
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for conv in editor.nodes:
        if not is_call(conv, aten.conv2d.default) or not is_call(conv.args[0], aten.pad.default):
            continue
        pad = conv.args[0]
        assert isinstance(pad, fx.Node)
        x, sides, mode, value = pad.args
        if mode != "constant" or value not in (None, 0, 0.0) or len(sides) != 4:  # type: ignore[arg-type]
            continue
        left, right, top, bottom = sides  # type: ignore[misc]
        if left != right or top != bottom or min(left, top) < 0:
            continue
        _, weight, bias, stride, padding, dilation, groups = conv.args
        sides = [padding[0] + top, padding[1] + left]  # type: ignore[index]
        editor.set_args(conv, x, weight, bias, stride, sides, dilation, groups)
        done.append(f"{pad.name} is the padding of {conv.name}")
    return done

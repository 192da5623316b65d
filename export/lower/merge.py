"""Merge clips that follow each other.

    relu(relu(x))                    =>  relu(x)
    clamp(clamp(x, a, b), c, d)      =>  clamp(x, max(a, c), min(b, d))     if that is not empty

relu is clamp(x, 0, inf) here. Exact.
"""

from __future__ import annotations

import math

from edgesr.export.lower.editor import Editor, arguments, only_user
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for node in editor.nodes:
        outer = bounds(node)
        if outer is None:
            continue
        x = arguments(node)[0]
        inner = bounds(x)
        if inner is None or only_user(x) is not node:
            continue
        low, high = max(inner[0], outer[0]), min(inner[1], outer[1])
        if low <= high:
            editor.replace(node, clip(editor, arguments(x)[0], low, high, node))
            done.append(f"two clips in a row are one, to [{low:g}, {high:g}]")
    return done


def bounds(node: fx.Node) -> tuple[float, float] | None:
    """The interval a relu or clamp clips to; None for any other node."""
    if is_call(node, aten.relu.default):
        return 0.0, math.inf
    if is_call(node, aten.clamp.default):
        _, low, high = arguments(node)
        if all(bound is None or isinstance(bound, (int, float)) for bound in (low, high)):
            return (
                -math.inf if low is None else float(low),
                math.inf if high is None else float(high),
            )
    return None


def clip(editor: Editor, x: fx.Node, low: float, high: float, like: fx.Node) -> fx.Node:
    """`x` clipped to [low, high], before `like`."""
    if (low, high) == (0.0, math.inf):
        return editor.call(aten.relu.default, x, before=like)
    limits = (None if math.isinf(low) else low, None if math.isinf(high) else high)
    return editor.call(aten.clamp.default, x, *limits, before=like)

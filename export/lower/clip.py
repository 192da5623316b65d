"""Clips, as the target runs them.

    clamp(x, 0, b)   =>   clamp(relu(x), -inf, b)       form "minmax": fused ReLU, then MINIMUM
    clamp(x, a, b)   =>   clamp(clamp(x, a), -inf, b)   likewise, MAXIMUM and MINIMUM
    clamp(x, 0, 1)   stays                              form "relu_0_to_1": one operator
    clamp(x, a, b)   stays                              form "saturate": int8 stops there anyway

[0, 6] and [-1, 1] stay in every form: they are fused activations (RELU6, RELU_N1_TO_1).
"""

from __future__ import annotations

from edgesr.export.lower.editor import Editor, arguments
from edgesr.export.lower.merge import bounds, clip
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms

FUSED = ((0.0, 6.0), (-1.0, 1.0))


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for node in editor.nodes:
        interval = bounds(node) if is_call(node, aten.clamp.default) else None
        if interval is None or forms.clip == "saturate" or interval in FUSED:
            continue
        if forms.clip == "relu_0_to_1" and interval == (0.0, 1.0):
            continue
        low, high = interval
        if float("inf") in (-low, high):
            continue
        x = arguments(node)[0]
        assert isinstance(x, fx.Node)
        lower = clip(editor, x, low, float("inf"), node)
        editor.replace(node, clip(editor, lower, -float("inf"), high, node))
        done.append(f"{node.name} to [{low:g}, {high:g}] is a lower and an upper clip")
    return done

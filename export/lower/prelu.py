"""PReLU, as the target runs it.

    prelu(x, a), all a equal    =>   leaky_relu(x, a)            (relu if a is 0)
    prelu(x, a)                 =>   relu(x) - a * relu(-x)      form "two_relus"

Exact: for x > 0 the second term is zero, for x <= 0 the first is.
"""

from __future__ import annotations

from edgesr.export.lower.editor import Editor, arguments
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for node in editor.nodes:
        if not is_call(node, aten.prelu.default):
            continue
        x, weight = arguments(node)
        slopes = editor.constant(weight)
        if slopes is None:
            continue
        if bool((slopes == slopes.reshape(-1)[0]).all()):
            slope = float(slopes.reshape(-1)[0])
            if slope == 0.0:
                new = editor.call(aten.relu.default, x, before=node)
            else:
                new = editor.call(aten.leaky_relu.default, x, slope, before=node)
            done.append(f"{node.name} has one slope for all channels: {new.name}")
        elif forms.prelu == "two_relus":
            assert isinstance(x, fx.Node)
            positive = editor.call(aten.relu.default, x, before=node)
            negated = editor.call(aten.mul.Tensor, x, -1.0, before=node)
            negative = editor.call(aten.relu.default, negated, before=node)
            column = editor.add_constant(slopes[None, :, None, None], f"{node.name}_slopes", node)
            scaled = editor.call(aten.mul.Tensor, negative, column, before=node)
            new = editor.call(aten.sub.Tensor, positive, scaled, before=node)
            done.append(f"{node.name} is two ReLUs")
        else:
            continue
        editor.replace(node, new)
    return done

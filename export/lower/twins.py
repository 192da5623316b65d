"""Compute once what is computed twice.

    f(x, args), f(x, args)   =>   one call, read twice

The slices of a skip, cut once per pixel of the block, are the usual case. Exact.
"""

from __future__ import annotations

from edgesr.export.lower.editor import Editor, arguments
from torch import fx

from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    seen: dict[str, fx.Node] = {}
    for node in editor.nodes:
        if node.op != "call_function" or node.kwargs:
            continue
        key = f"{node.target} {arguments(node)}"  # names of nodes are unique in a graph
        twin = seen.setdefault(key, node)
        if twin is not node:
            editor.replace(node, twin)
            done.append(f"{node.name} repeats {twin.name}")
    return done

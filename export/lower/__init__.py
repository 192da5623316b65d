"""Lower: rewrite a plain graph until only what a target runs is left.

Each rule is one file with its pattern in the docstring, exact, and guarded: where it does not
apply it leaves the graph alone. `RULES` is the order they run in.
"""

from __future__ import annotations

import copy

from edgesr.export.lower import (
    anchor,
    clip,
    hoist,
    merge,
    order,
    pad,
    prelu,
    spell,
    transposed,
    twins,
    unshuffle,
)  # fmt: skip
from edgesr.export.lower.editor import Editor
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from torch import fx

from edgesr.targets import Forms

__all__ = ["Forms", "depth_to_space", "lower", "rewrites_of", "space_to_depth"]

RULES = (
    pad, transposed,           # one kind of convolution, which pads by itself
    anchor, hoist,             # everything pointwise before the shuffle
    merge, prelu, clip,        # activations in the target's form
    order, unshuffle,          # channel order into the weights
    spell, twins,              # the skip in the target's form; what that left double
)  # fmt: skip

_UNTIL_SETTLED = (anchor, hoist)


def lower(graph: fx.GraphModule, forms: Forms) -> fx.GraphModule:
    """The same function, spelled as the target wants it. The given graph is left as it is.

    Args:
        graph: canonical (`edgesr.graph.trace`), collapsed or not.
        forms: the target's spelling, from `Target.forms`.

    Returns:
        A graph that equals the given one but for rounding of the last bit (every rule is exact in
        real numbers). `rewrites_of` tells what was done.
    """
    module = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    editor = Editor(module)
    done: list[str] = []
    for rule in RULES:
        found = rule.rewrite(editor, forms)
        done += found
        # A skip may only become visible once a clip has moved, and the other way round.
        while found and rule in _UNTIL_SETTLED:
            found = [line for again in _UNTIL_SETTLED for line in again.rewrite(editor, forms)]
            done += found
    module.meta["rewrites"] = list(dict.fromkeys(done))
    return editor.finish()


def rewrites_of(graph: fx.GraphModule) -> list[str]:
    """What `lower` did, in order, one sentence each."""
    return list(graph.meta.get("rewrites", []))

"""What each operator does to linear maps: one rule per operator, one concept per file.

A rule takes the maps of a node's inputs and gives the node's, or None where it has none (a factor
that depends on the image, a size it cannot follow). Operators without a rule start anew: their
output is a root.
"""

from edgesr.collapse.rules import (
    batch_norm,
    borders,
    channels,
    convolution,
    pooling,
    scaling,
    sums,
    unshuffle,
)
from edgesr.collapse.rules.rule import RULES, Facts, Rule

__all__ = [
    "RULES", "Facts", "Rule", "batch_norm", "borders", "channels", "convolution", "pooling",
    "scaling", "sums", "unshuffle",
]  # fmt: skip

"""Design: the member of the plain family that is worth the most within a latency budget.

    found = search(SPACE, 8.0, OnDevice(scale=3, device="cpu", shape=(360, 640), work=folder))
    write_recipe(found, ...)

The search asks a function for milliseconds and is deterministic given its answers; `measure` is
the one that exports random weights in int8 and times them.
"""

from edgesr.design.family import SPACE, Member, Space
from edgesr.design.latency import Latency
from edgesr.design.quality import quality
from edgesr.design.search import Found, Measure, search

__all__ = ["SPACE", "Found", "Latency", "Measure", "Member", "Space", "quality", "search"]

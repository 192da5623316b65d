"""Collapse: fold the linear regions of a network into plain convolutions, and prove it.

plain, certificate = collapse(network)
"""

from edgesr.collapse.certificate import Certificate, Kept
from edgesr.collapse.recipe import collapse
from edgesr.collapse.save import save

__all__ = ["Certificate", "Kept", "collapse", "save"]

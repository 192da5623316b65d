"""Networks, named as in their papers. Importing this package registers all of them."""

from edgesr.models import ncnet, plain
from edgesr.models.registry import Entry, Paper, create, entries, parse_name, register

__all__ = ["Entry", "Paper", "create", "entries", "ncnet", "parse_name", "plain", "register"]

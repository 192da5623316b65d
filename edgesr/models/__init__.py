"""Networks, named as in their papers. Importing this package registers all of them."""

from edgesr.models import (
    abpn,
    ecbsr,
    edsr,
    espcn,
    fsrcnn,
    imdn,
    mdsr,
    mzsr,
    ncnet,
    plain,
    quicksrnet,
    rfdn,
    rlfn,
    sesr,
    xlsr,
)
from edgesr.models.registry import Entry, Paper, create, entries, parse_name, register

__all__ = [
    "Entry",
    "Paper",
    "abpn",
    "create",
    "ecbsr",
    "edsr",
    "entries",
    "espcn",
    "fsrcnn",
    "imdn",
    "mdsr",
    "mzsr",
    "ncnet",
    "parse_name",
    "plain",
    "quicksrnet",
    "register",
    "rfdn",
    "rlfn",
    "sesr",
    "xlsr",
]

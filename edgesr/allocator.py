"""Memory that was freed stays with the process, for work that allocates the same tensors in turns.

glibc gives every large block back to the system when it is freed and asks for it again a moment
later; the system then clears it page by page. A training step frees and allocates all its feature
maps: the faster the arithmetic, the larger the share of the time that goes into that.
"""

from __future__ import annotations

import ctypes
from functools import cache

# malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_ALL = 2**31 - 1
_AHEAD = 2**27
"""Bytes that are asked for at once."""


@cache
def keep_freed_memory() -> bool:
    """From now on, in this process. Says whether the C library can be told: glibc can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    choices = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _ALL), (_TOP_PAD, _AHEAD))
    return all(mallopt(which, value) == 1 for which, value in choices)

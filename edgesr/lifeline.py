"""Children that end when their parent does, however it ends.

A parent that is killed runs no `finally`. On Linux the kernel tells its children
(PR_SET_PDEATHSIG), without a thread that would disturb what they time; elsewhere a thread of the
child looks twice a second.

Linux means the parent's *thread*: start a child in a thread that outlives it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

_SET_PARENT_DEATH_SIGNAL = 1
_LOOK = 0.5
"""Seconds."""


def end_with_parent(parent: int) -> None:
    """Called by a child as early as can be: end at once, without clean-up, when its parent is gone.

    Args:
        parent: process id of the parent, which may be gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def tied(command: Sequence[str]) -> list[str]:
    """The command of a program that is not ours, so that it ends with this process.

    Elsewhere than on Linux it stays as it is, and such a program ends by itself or not at all.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-IS", __file__, str(os.getpid()), *command]


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])

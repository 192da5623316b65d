"""What the fork server of `LocalPool` loads; its workers find it there.

A server whose suite was killed ends at once: taking torch apart first would take seconds.
"""

import atexit
import os

from edgesr.benchmarks.suite import jobs

__all__ = ["jobs"]

atexit.register(os._exit, 0)

"""Freed memory is not given back to the system and cleared again, step after step."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

BLOCKS = """
import resource
import sys
import torch
from edgesr.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
torch.set_num_threads(1)
for _ in range(10):
    torch.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_block_that_was_freed_is_used_again_without_being_cleared() -> None:
    usual = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    faults = {
        way: int(subprocess.check_output([sys.executable, "-c", BLOCKS, way], env=usual, text=True))
        for way in ("given_back", "kept")
    }
    assert faults["kept"] < faults["given_back"] / 10

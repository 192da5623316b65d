"""What the processor can do, where a result or a speed depends on it."""

from __future__ import annotations

import platform
from pathlib import Path


def cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Linux's facts about the first core, by field; empty on other systems."""
    try:
        first = path.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def flags() -> set[str]:
    """Names of its instruction sets, as in /proc/cpuinfo."""
    facts = cpuinfo()
    return set((facts.get("flags") or facts.get("Features") or "").split())


def saturates() -> bool:
    """Whether common int8 kernels are wrong here: x86 without VNNI has an instruction that adds
    products in pairs, in 16 bits, and saturates. 255 * 127, twice, is more than that holds.

    LiteRT's kernels do not use it; ONNX Runtime and OpenVINO must be told not to.
    """
    known = flags()
    return platform.machine() in ("x86_64", "AMD64") and bool(known) and not known & _VNNI


_VNNI = {"avx512_vnni", "avx_vnni"}

"""What `edgesr_run` prints: one line of JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from edgesr.benchmarks.devices.device import DeviceError


@dataclass(frozen=True)
class RunnerOutput:
    """One process of our runner; times in milliseconds."""

    init_ms: float
    first_ms: float
    samples: tuple[float, ...]
    peak_rss_kb: int
    out_bytes: int


def read_runner(text: str, device: str) -> RunnerOutput:
    """Find the line among whatever else the device printed.

    Raises:
        DeviceError: there is none, or it is garbage; the message quotes the last line.
    """
    for line in reversed(text.splitlines()):
        start = line.find('{"edgesr_run":1,')
        if start < 0:
            continue
        try:
            found = json.loads(line[start:])
            output = RunnerOutput(
                init_ms=float(found["init_ms"]),
                first_ms=float(found["first_ms"]),
                samples=tuple(float(sample) for sample in found["samples_ms"]),
                peak_rss_kb=int(found["peak_rss_kb"]),
                out_bytes=int(found["out_bytes"]),
            )
        except (ValueError, KeyError, TypeError):
            break
        if all(math.isfinite(sample) and sample > 0 for sample in output.samples):
            return output
        break
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1][:200] if lines else "nothing"
    raise DeviceError(f"{device} answered garbage instead of edgesr_run's line: {last!r}")

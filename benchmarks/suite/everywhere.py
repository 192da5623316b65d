"""Artifacts on several devices at once: phones that hang on one machine do not slow each other."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import Device
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.results import BenchResult
from edgesr.benchmarks.suite.pool import worth_retrying
from edgesr.benchmarks.suite.timing import is_elsewhere, wait_for_return

from edgesr.errors import EdgesrError

Tell = Callable[[str, int, int], None]


def bench_everywhere(
    devices: Sequence[Device],
    artifacts: Sequence[str],
    plan: Plan,
    *,
    threads: int = 1,
    require_full: bool = False,
    progress: Tell,
    lost: Callable[[EdgesrError], None],
) -> BenchResult:
    """Run all artifacts on every device; one that fails is tried again, and loses its own rows.

    Args:
        devices: those that time nothing on this machine run at once, the others one by one.
        lost: told why a device gave nothing.

    Raises:
        EdgesrError: no device gave anything.
    """
    shared = threading.Lock()
    errors: list[EdgesrError] = []

    def one(device: Device, attempt: int = 1) -> BenchResult | None:
        try:
            return bench_on(
                device, artifacts, plan, threads=threads, processes=plan.processes or None,
                require_full=require_full, progress=progress,
            )  # fmt: skip
        except EdgesrError as error:
            if len(devices) > 1 and worth_retrying(error, attempt):
                wait_for_return(device.name, error)
                return one(device, attempt + 1)
            with shared:
                errors.append(error)
            return None

    apart = [device for device in devices if is_elsewhere(device.name)]
    found = [one(device) for device in devices if device not in apart]
    if apart:
        with ThreadPoolExecutor(len(apart)) as pool:
            found += pool.map(one, apart)
    results = [result for result in found if result is not None]
    if not results:
        raise errors[0]
    for error in errors:
        lost(error)
    return dataclasses.replace(results[0], rows=[row for result in results for row in result.rows])

"""`edgesr bench ARTIFACT... --device web --serve`: a phone's own browser runs the benchmark.

Neither adb nor an app is needed, only a network both are in. A page that is neither https nor
localhost gets no threads and no WebGPU from the browser; `adb reverse tcp:PORT tcp:PORT` makes the
address localhost on a phone that is plugged in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgesr.benchmarks.devices import parity
from edgesr.benchmarks.devices.bench import Entry, row_of
from edgesr.benchmarks.devices.device import DeviceError, Work
from edgesr.benchmarks.devices.tools import WEB
from edgesr.benchmarks.devices.web import ACCELERATORS, check_for_browser, run_of
from edgesr.benchmarks.devices.web_server import BenchServer, Job
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.results import BenchResult, Row

PATIENCE = 3600.0
"""Seconds until nobody is expected any more."""


def serve(
    artifacts: Sequence[Path | str],
    plan: Plan | None = None,
    *,
    threads: int = 1,
    host: str = "127.0.0.1",
    port: int = 0,
    tell: Callable[[str], None],
    patience: float = PATIENCE,
) -> BenchResult:
    """Wait for a browser to run every artifact with WASM and with WebGPU.

    Args:
        artifacts: exported files with float or uint8 ends.
        host: address to listen on; `0.0.0.0` lets other machines in.
        port: 0 takes a free one.
        tell: told the address, and what failed.
        patience: seconds to wait.

    Raises:
        BadFileError: a file that browsers cannot run.
        DeviceError: nobody came, or nothing worked.
    """
    plan = plan or Plan()
    payloads = [parity.payload_for(Path(artifact)) for artifact in artifacts]
    for payload in payloads:
        check_for_browser("web", payload)
    work = Work(plan.runs, plan.warm_up, threads)
    jobs = [Job(payload, kind, work) for kind in ACCELERATORS for payload in payloads]
    started, meter = datetime.now(UTC).isoformat(timespec="seconds"), LoadMeter()
    with BenchServer(jobs, WEB.require(), host, port) as server:
        tell(f"open {server.address} in the browser to be measured, and press Start")
        if not server.wait(patience) and not any(job.result for job in jobs):
            raise DeviceError(f"no browser came within {patience / 60:.0f} min")
    rows = [row for job in jobs if (row := _row(job, tell)) is not None]
    if not rows:
        raise DeviceError("the browser could run none of the files; see above")
    return BenchResult(
        rows=rows, peaks=[], plan=plan, machine=this_machine(), load=meter.stop(), started=started
    )


def _row(job: Job, tell: Callable[[str], None]) -> Row | None:
    """One answer as a row; None, and a word about it, when there is none."""
    device = f"web:{job.accelerator}"
    name = job.payload.artifact.name
    try:
        if job.result is None:
            raise DeviceError(f"{device} did not get to it")
        entry = Entry(job.payload, [run_of(job, device)])
    except DeviceError as error:
        tell(f"{name}: {error}")
        return None
    if job.output is not None:
        entry.parity = parity.golden_for(job.payload).compare(job.output)
    return row_of(device, entry, {}, job.work.threads)

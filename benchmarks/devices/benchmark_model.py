"""What the two tools called `benchmark_model` take and print.

TensorFlow Lite's (and LiteRT's interpreter flavour) prints `INFO: Inference timings in us: ...`;
LiteRT's `benchmark_litert_model` prints a block of `BENCHMARK RESULTS`. One's flags are not the
other's, so `--help` decides which it is. Lines may carry logcat's prefix, numbers an exponent, and
old builds lack percentiles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgesr.benchmarks.devices.device import DeviceError, Placement, Work

Flavour = Literal["tflite", "litert"]

_NUMBER = r"([-+0-9.]+(?:e[-+]?\d+)?)"
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_COUNT = re.compile(rf"count=(\d+)[^\n]*?(?:\bavg={_NUMBER}[^\n]*?)?(?:\bmedian={_NUMBER}[^\n]*)?$",
                    re.MULTILINE)  # fmt: skip
_PEAK = re.compile(rf"peak memory footprint \(MB\)[^\n:]*: {_NUMBER}", re.IGNORECASE)
_LITERT = re.compile(
    rf"^.*?\b(Model initialization|Warmup \((?:first|avg)\)|Inference \((?:avg|min|max|std)\)|"
    rf"Peak memory):\s+{_NUMBER}",
    re.MULTILINE,
)
_RUNS = re.compile(r"Inference \(avg\):[^\n(]*\((\d+) runs\)")
_FAILURES = (
    "Failed to apply", "Disallowed CPU fallback", "Failed to load model", "Failed to initialize",
    "Unconsumed cmdline flags", "Benchmarking failed", "Failed to allocate",
)  # fmt: skip


@dataclass(frozen=True)
class BenchmarkOutput:
    """One process of either tool; milliseconds and MB. It keeps no single samples."""

    flavour: Flavour
    init_ms: float
    first_ms: float
    average_ms: float
    median_ms: float | None
    runs: int
    peak_mb: float | None
    placement: Placement

    @property
    def figure(self) -> float:
        """The median where the tool tells one, else the average."""
        return self.average_ms if self.median_ms is None else self.median_ms


def flavour_of(help_text: str) -> Flavour:
    """Which tool printed this help.

    Raises:
        DeviceError: neither.
    """
    if "require_full_delegation" in help_text or "compiler_plugin_library_path" in help_text:
        return "litert"
    if "use_xnnpack" in help_text or "--graph" in help_text:
        return "tflite"
    raise DeviceError("the tool given is no benchmark_model that edgesr knows: see its --help")


def flags(flavour: Flavour, graph: str, work: Work) -> list[str]:
    """Flags that make it measure `work`."""
    common = [f"--graph={graph}", f"--num_threads={work.threads}", f"--num_runs={work.runs}",
              f"--warmup_runs={work.warm_up}"]  # fmt: skip
    if flavour == "litert":
        return [*common, "--use_cpu=true"]
    return [*common, "--use_xnnpack=true", "--min_secs=0", "--warmup_min_secs=0",
            "--report_peak_memory_footprint=true"]  # fmt: skip


def read_benchmark(text: str, device: str) -> BenchmarkOutput:
    """Read either tool's output.

    Raises:
        DeviceError: the tool said that it failed, or printed no result.
    """
    for line in text.splitlines():
        if any(failure in line for failure in _FAILURES):
            raise DeviceError(f"benchmark_model on {device}: {line.strip()[:300]}")
    try:
        return _read_tflite(text) or _read_litert(text) or _nothing(text, device)
    except ValueError:
        return _nothing(text, device)


def _read_tflite(text: str) -> BenchmarkOutput | None:
    timings = _TIMINGS.search(text)
    if timings is None:
        return None
    init, first, _, average = (float(value) / 1e3 for value in timings.groups())
    counts = _COUNT.findall(text)  # warm-up, then the runs
    runs, _, median = counts[-1] if counts else ("0", "", "")
    peak = _PEAK.search(text)
    return BenchmarkOutput(
        flavour="tflite",
        init_ms=init,
        first_ms=first,
        average_ms=average,
        median_ms=float(median) / 1e3 if median else None,
        runs=int(runs),
        peak_mb=float(peak.group(1)) if peak else None,
        placement=_placement(text),
    )


def _read_litert(text: str) -> BenchmarkOutput | None:
    found = {label: float(value) for label, value in _LITERT.findall(text)}
    if "Inference (avg)" not in found:
        return None
    runs = _RUNS.search(text)
    return BenchmarkOutput(
        flavour="litert",
        init_ms=found.get("Model initialization", 0.0),
        first_ms=found.get("Warmup (first)", 0.0),
        average_ms=found["Inference (avg)"],
        median_ms=None,
        runs=int(runs.group(1)) if runs else 0,
        peak_mb=found.get("Peak memory"),
        placement=_placement(text),
    )


def _placement(text: str) -> Placement:
    if "will be completely executed by the delegate" in text:
        return Placement(full=True)
    if "will be partially executed by the delegate" in text or (
        "will not be executed by the delegate" in text
    ):
        return Placement(full=False)
    return Placement()


def _nothing(text: str, device: str) -> BenchmarkOutput:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1][:200] if lines else "nothing"
    raise DeviceError(f"{device} answered garbage instead of benchmark_model's timings: {last!r}")

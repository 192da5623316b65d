"""What `edgesr bench` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesr.benchmarks.results import BenchResult

CPU_COLUMNS = {
    "artifact": "artifact", "io": "in/out", "runtime": "runtime", "threads": "threads",
    "median_ms": "median ms", "p90_ms": "p90", "p99_ms": "p99", "spread_percent": "spread %",
    "peak_mb": "peak MB", "ms_per_megapixel": "ms/Mpixel", "gmac_per_s": "GMAC/s",
    "percent_of_peak": "% of GEMM", "parity": "parity",
}  # fmt: skip

PHASE_COLUMNS = {
    "artifact": "artifact", "runtime": "runtime", "threads": "threads", "start_ms": "start ms",
    "import_ms": "import", "load_ms": "load", "first_ms": "first run", "median_ms": "steady",
    "preprocess_ms": "image in", "postprocess_ms": "image out",
}  # fmt: skip

DEVICE_COLUMNS = {
    "artifact": "artifact", "device": "device", "runtime": "runtime", "label": "figures are",
    "median_ms": "median ms", "p90_ms": "p90", "estimate_ms": "estimate ms",
    "placement": "on the device", "parity": "parity",
}  # fmt: skip

SUITE_COLUMNS = {
    "artifact": "artifact", "device": "device", "runtime": "runtime", "threads": "threads",
    "median_ms": "median ms", "p90_ms": "p90", "spread_percent": "spread %",
    "estimate_ms": "estimate ms", "percent_of_peak": "% of GEMM", "parity": "parity",
}  # fmt: skip
"""Followed by the quality on every image set."""


def readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with figures rounded to what they are worth."""

    def whole(name: str, factor: float = 1) -> int | None:
        value = row.get(name)
        return None if value is None else round(value * factor)

    return {
        **row,
        "spread_percent": whole("spread", 100),
        "peak_mb": whole("peak_mb"),
        "gmac_per_s": whole("gmac_per_s"),
        "percent_of_peak": whole("share_of_peak", 100),
    }


def ceilings(results: Sequence[BenchResult]) -> dict[str, float]:
    """Rates of the machine by name, in GMAC/s and GB/s; the fastest of several."""
    found: dict[str, float] = {}
    for result in results:
        for peak in result.peaks:
            name = f"{peak.arithmetic} x{peak.threads}"
            found[name] = max(peak.rate, found.get(name, 0))
        for copy in result.copies:
            name = f"copy x{copy.threads}"
            found[name] = max(copy.rate, found.get(name, 0))
    return found


def footer(rates: Mapping[str, float]) -> str:
    """The ceilings in a line."""
    products = ", ".join(f"{n}: {r:.0f} GMAC/s" for n, r in rates.items() if "copy" not in n)
    copies = ", ".join(f"{n}: {r:.0f} GB/s" for n, r in rates.items() if "copy" in n)
    return "; ".join(part for part in (f"GEMM {products}" if products else "", copies) if part)

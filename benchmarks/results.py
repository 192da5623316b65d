"""What a benchmark leaves behind: figures, raw samples, and everything needed to repeat it.

One JSON document per run, version 1. Readers accept every older version and ignore fields they do
not know; raw samples are kept, so that a better statistic can be computed later.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.device import Label, Parity, Placement
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import Load, Machine
from edgesr.benchmarks.memory import Memory
from edgesr.benchmarks.peak import Arithmetic, arithmetic_of
from edgesr.benchmarks.statistics import Summary, summarize

from edgesr.errors import BadFileError, OutputExistsError
from edgesr.manifest import write_atomically

VERSION = 1

BUSY = 0.25
"""Cores kept busy by others from which a run is called disturbed."""
NOISY = 0.10
"""Spread from which a row is called noisy."""

PHASES = ("start", "import", "load", "first", "preprocess", "postprocess")
"""Parts of a run that the samples leave out, each the median over processes: interpreter started,
runtime imported, model loaded (which compiles it where the runtime does), first call, one image to
the input tensor, the output tensor to an image. Together the first four are a cold start."""


@dataclass(frozen=True)
class Peak:
    """Matrix-product rate of the machine, taken in turns with the rows."""

    arithmetic: Arithmetic
    threads: int
    macs: int
    samples: list[float]
    """Milliseconds."""

    @property
    def rate(self) -> float:
        """GMAC/s in the median."""
        return self.macs / summarize(self.samples).median / 1e6

    @property
    def best_rate(self) -> float:
        """GMAC/s of the fastest product."""
        return self.macs / min(self.samples) / 1e6


@dataclass(frozen=True)
class Copy:
    """Memory bandwidth of the machine, taken in turns with the rows: one large array to another."""

    threads: int
    bytes: int
    """Read and written by one copy."""
    samples: list[float]
    """Milliseconds."""

    @property
    def rate(self) -> float:
        """GB/s in the median."""
        return self.bytes / summarize(self.samples).median / 1e6


@dataclass(frozen=True)
class Row:
    """One artifact in one runtime, on one device, with one number of threads."""

    artifact: str
    """File name, or the network's name when a network ran in torch."""
    runtime: str
    runtime_version: str
    delegate: str
    threads: int
    height: int
    width: int
    scale: float
    """Of a side; the geometric mean where height and width differ."""
    precision: str
    samples: list[float]
    """Milliseconds, in the order they were taken; none where nothing was measured."""
    macs: int | None = None
    sha256: str = ""
    memory: Memory | None = None
    notes: tuple[str, ...] = ()
    """What the runtime says one should know before trusting the latency."""
    manifest: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    label: Label = "measured"
    """Only what is `measured` has samples."""
    estimate: dict[str, Any] = field(default_factory=dict)
    """Of a compiler: `ms`, `cycles`, `sram_kib`, and what it assumed."""
    placement: Placement | None = None
    """Operators on the device and on a CPU; None where that was not asked."""
    parity: Parity | None = None
    """The golden tile on the device against the reference; None where it was not run."""
    facts: dict[str, Any] = field(default_factory=dict)
    """About the device, before and after the run."""
    phases: dict[str, float] = field(default_factory=dict)
    """Milliseconds of the `PHASES` that were measured."""
    bytes_moved: int | None = None
    """Estimate of the memory one call reads and writes: weights once, and every operator's inputs
    and outputs. None where the file was not read."""
    by_process: tuple[int, ...] = ()
    """How many of the samples, in their order, came from each process; empty: all from one."""

    def __post_init__(self) -> None:
        if self.samples and self.label != "measured":
            raise ValueError(f"a row that is {self.label} has no latency")

    @property
    def summary(self) -> Summary:
        """Median, tail and spread of the samples, in milliseconds.

        Raises:
            ValueError: there are none.
        """
        return summarize(self.samples)

    @property
    def output_megapixels(self) -> float:
        """Millions of pixels one call produces."""
        return self.height * self.width * self.scale**2 / 1e6

    @property
    def ms_per_megapixel(self) -> float | None:
        """Median time per million output pixels: comparable across sizes and scales."""
        return self.summary.median / self.output_megapixels if self.samples else None

    @property
    def rate(self) -> float | None:
        """GMAC/s in the median; None where multiplications or time are not known."""
        if self.macs is None or not self.samples:
            return None
        return self.macs / self.summary.median / 1e6

    @property
    def best_rate(self) -> float | None:
        """GMAC/s of the fastest run."""
        if self.macs is None or not self.samples:
            return None
        return self.macs / self.summary.best / 1e6


@dataclass(frozen=True)
class BenchResult:
    """One run: all rows were timed in turns on one machine."""

    rows: list[Row]
    peaks: list[Peak]
    plan: Plan
    machine: Machine
    load: Load
    started: str
    """UTC, ISO 8601."""
    version: int = VERSION
    copies: list[Copy] = field(default_factory=list)

    def copy_for(self, row: Row) -> Copy | None:
        """Bandwidth with as many threads as `row` has, the slope of its roofline."""
        fitting = [c for c in self.copies if c.threads == row.threads and row.device == "cpu"]
        return max(fitting, key=lambda copy: copy.rate, default=None)

    def peak_for(self, row: Row) -> Peak | None:
        """The ceiling `row` stands under: same arithmetic, same threads, the fastest of them."""
        if row.device != "cpu":  # the products were multiplied here
            return None
        wanted = (arithmetic_of(row.precision), row.threads)
        fitting = [p for p in self.peaks if (p.arithmetic, p.threads) == wanted]
        return max(fitting, key=lambda peak: peak.rate, default=None)

    def share_of_peak(self, row: Row) -> float | None:
        """Fraction of the GEMM rate `row` reaches: median against median, both disturbed alike."""
        peak = self.peak_for(row)
        return None if peak is None or row.rate is None else row.rate / peak.rate

    def best_share_of_peak(self, row: Row) -> float | None:
        """The same of the fastest runs: what is left when neighbours are taken out."""
        peak = self.peak_for(row)
        return None if peak is None or row.best_rate is None else row.best_rate / peak.best_rate

    def warnings(self) -> list[str]:
        """Reasons not to quote these figures."""
        said = []
        before, others = self.load.before, self.load.others
        timed = any(row.samples for row in self.rows)
        if timed and others is not None and others > BUSY:
            said.append(
                f"other processes kept {others:.1f} of {self.machine.cores} cores busy during the "
                "run; compare rows with each other, quote none, and run again on a quiet machine"
            )
        elif timed and others is None and before is not None and before > BUSY * self.machine.cores:
            said.append(
                f"the load average was {before:.1f} when the run began; run again when idle"
            )
        for row in self.rows:
            said += row.notes
            if row.device == "cpu" and row.threads > self.machine.cores:
                said.append(
                    f"{row.threads} threads on {self.machine.cores} cores time the scheduler"
                )
            if (self.share_of_peak(row) or 0) > 1:
                said.append(
                    f"{row.artifact} in {row.runtime} with {row.threads} thread(s) is faster than "
                    "the matrix products beside it: the ceiling was disturbed, share means nothing"
                )
            if row.samples and row.summary.spread > NOISY:
                said.append(
                    f"{row.artifact} in {row.runtime} with {row.threads} thread(s) varies by "
                    f"{row.summary.spread:.0%}: its fastest run was {row.summary.best:.1f} ms"
                )
        return list(dict.fromkeys(said))

    def table(self) -> list[dict[str, Any]]:
        """One flat mapping per row, for tables and CSV: times in ms, memory in MB, shares to 1."""
        flat = []
        for row in self.rows:
            summary = row.summary if row.samples else None
            peak = self.peak_for(row)
            flat.append({
                "artifact": row.artifact, "runtime": row.runtime, "threads": row.threads,
                "precision": row.precision, "io": row.manifest.get("dtype"),
                "height": row.height, "width": row.width, "scale": row.scale,
                "device": row.device, "label": row.label,
                "runs": summary.runs if summary else 0,
                "median_ms": summary.median if summary else None,
                "p90_ms": summary.p90 if summary else None,
                "p99_ms": summary.p99 if summary else None,
                "best_ms": summary.best if summary else None,
                "spread": summary.spread if summary else None,
                "estimate_ms": row.estimate.get("ms"),
                "placement": row.placement.describe() if row.placement else None,
                "on_cpu": list(row.placement.on_cpu or ()) if row.placement else None,
                "parity": row.parity.describe() if row.parity else None,
                "peak_mb": row.memory.increase_mb if row.memory else None,
                "ms_per_megapixel": row.ms_per_megapixel,
                "gmac_per_s": row.rate,
                "gemm_gmac_per_s": peak.rate if peak else None,
                "share_of_peak": self.share_of_peak(row),
                "best_share_of_peak": self.best_share_of_peak(row),
                "bytes_moved": row.bytes_moved,
                **{f"{phase}_ms": row.phases.get(phase) for phase in PHASES},
                "runtime_version": row.runtime_version, "delegate": row.delegate,
                "sha256": row.sha256,
            })  # fmt: skip
        return flat

    def to_document(self) -> dict[str, Any]:
        """The whole result: raw samples, and the computed table for readers without edgesr."""
        return {**dataclasses.asdict(self), "table": self.table()}

    def to_json(self) -> str:
        """`to_document` as text."""
        return json.dumps(self.to_document(), indent=1) + "\n"


def write_result(result: BenchResult, path: Path, *, force: bool = False) -> None:
    """Write the result as JSON.

    Raises:
        OutputExistsError: the file is there and `force` is not given.
        EnvironmentLimitError: it cannot be written.
    """
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; --force overwrites it")
    write_atomically(path, result.to_json().encode())


def read_result(path: Path) -> BenchResult:
    """Read what `write_result` wrote.

    Raises:
        BadFileError: missing, not a benchmark result, or of a newer version.
    """
    try:
        document = json.loads(path.read_text())
        version = document["version"]
        if version > VERSION:
            raise BadFileError(
                f"{path} is a benchmark of version {version}; this edgesr reads up to {VERSION}"
            )
        return result_from(document)
    except OSError as error:
        raise BadFileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(f"{path} is not a result of `edgesr bench`: {error!r}") from error


def result_from(document: Mapping[str, Any]) -> BenchResult:
    """The result whose `to_document` this is, of this version or an older one.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is something else.
    """
    return BenchResult(
        rows=[row_from(row) for row in document["rows"]],
        peaks=[Peak(**known(Peak, peak)) for peak in document["peaks"]],
        plan=Plan(**known(Plan, document["plan"])),
        machine=_machine(document["machine"]),
        load=Load(**known(Load, document["load"])),
        started=document["started"],
        version=document["version"],
        copies=[Copy(**known(Copy, copy)) for copy in document.get("copies", ())],
    )


def row_from(document: Mapping[str, Any]) -> Row:
    """The row whose `dataclasses.asdict` this is, of this version or an older one."""
    fields = known(Row, document)
    if fields.get("memory") is not None:
        fields["memory"] = Memory(**known(Memory, fields["memory"]))
    fields["notes"] = tuple(fields.get("notes", ()))
    fields["by_process"] = tuple(fields.get("by_process", ()))
    if fields.get("placement") is not None:
        placement = known(Placement, fields["placement"])
        if placement.get("on_cpu") is not None:
            placement["on_cpu"] = tuple(placement["on_cpu"])
        fields["placement"] = Placement(**placement)
    if fields.get("parity") is not None:
        fields["parity"] = Parity(**known(Parity, fields["parity"]))
    return Row(**fields)


def _machine(document: Mapping[str, Any]) -> Machine:
    fields = known(Machine, document)
    fields["instructions"] = tuple(fields["instructions"])
    return Machine(**fields)


def known(kind: type, document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `document` that this version of the dataclass has."""
    names = {f.name for f in dataclasses.fields(kind)}
    return {name: value for name, value in document.items() if name in names}

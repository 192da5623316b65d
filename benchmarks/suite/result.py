"""What a suite leaves behind: latency, quality and failures of everything it asked for.

One JSON document, version 1, written whole after every step. Readers accept every older version
and ignore fields they do not know.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesr.benchmarks.results import BenchResult, Row, known, result_from

from edgesr.errors import BadFileError
from edgesr.manifest import write_atomically

VERSION = 1
KIND = "edgesr suite"
"""Tells the document from that of `edgesr bench --out`."""


@dataclass(frozen=True)
class Quality:
    """How good one artifact is on one set of images, beside the steps that led to it."""

    artifact: str
    """File name, as in `Row.artifact`."""
    sha256: str
    """Of the artifact, as in `Row.sha256`."""
    network: str
    target: str
    precision: str
    dataset: str
    protocol: str
    """Colour, border and rounding, as `edgesr.metrics.psnr` prints them."""
    images: int
    column: str
    """Which of the columns below is this artifact."""
    psnr: dict[str, float]
    """Column (`edgesr.precisions`) to mean dB against the originals."""
    against_float: dict[str, float | None]
    """Column to mean dB against the first column; None where every pixel is the same."""
    bicubic: float
    """Mean dB of bicubic."""
    ssim: float | None = None
    """Mean on luma, of this artifact."""
    bicubic_ssim: float | None = None
    worst_image: str = ""
    worst_drop: float = 0.0
    """dB this artifact loses on that image against the first column."""
    runs_in: dict[str, str] = field(default_factory=dict)
    """Column to runtime and version."""

    @property
    def db(self) -> float:
        """Mean dB of this artifact against the originals."""
        return self.psnr[self.column]

    @property
    def drop(self) -> float:
        """dB lost against the first column, the float network."""
        return next(iter(self.psnr.values())) - self.db

    @property
    def gain(self) -> float:
        """dB above bicubic."""
        return self.db - self.bicubic


@dataclass(frozen=True)
class Failure:
    """A part of a suite that gave no figure."""

    cell: str
    """What was to be done: `plain-m-x3 tflite int8 360x640, 1 thread`."""
    device: str
    """Where; empty for exports and images."""
    error: str
    attempts: int


@dataclass(frozen=True)
class SuiteResult:
    """Everything a suite found out."""

    name: str
    started: str
    """UTC, ISO 8601."""
    runs: list[BenchResult]
    """One per device and start: the rows of one run were timed in turns."""
    quality: list[Quality]
    failures: list[Failure]
    provenance: dict[str, Any] = field(default_factory=dict)
    """The suite's own text and hash, the command, versions."""
    version: int = VERSION

    def rows(self) -> Iterator[tuple[BenchResult, Row]]:
        """Every row with the run it belongs to, which knows its ceiling."""
        return ((run, row) for run in self.runs for row in run.rows)

    def quality_of(self, row: Row) -> list[Quality]:
        """What is known of the file that `row` timed: one per set of images."""
        return [q for q in self.quality if q.sha256 and q.sha256 == row.sha256]

    def warnings(self) -> list[str]:
        """Reasons not to quote these figures, of all runs."""
        return list(dict.fromkeys(text for run in self.runs for text in run.warnings()))

    def table(self) -> list[dict[str, Any]]:
        """One flat mapping per row: `BenchResult.table` with `psnr` and `drop` by data set."""
        flat = []
        for run in self.runs:
            for row, cells in zip(run.rows, run.table(), strict=True):
                judged = {
                    f"{what} {q.dataset}": value
                    for q in self.quality_of(row)
                    for what, value in (("psnr", q.db), ("drop", q.drop))
                }
                flat.append({"network": row.manifest.get("network"), **cells, **judged})
        return flat

    def to_json(self) -> str:
        """The whole result, raw samples included, and the table for readers without edgesr."""
        document = {
            "kind": KIND,
            **dataclasses.asdict(self),
            "runs": [run.to_document() for run in self.runs],
            "table": self.table(),
        }
        return json.dumps(document, indent=1) + "\n"


def write_suite(result: SuiteResult, path: Path) -> None:
    """Write as JSON, whole or not at all.

    Raises:
        EnvironmentLimitError: it cannot be written.
    """
    write_atomically(path, result.to_json().encode())


def read_suite(path: Path) -> SuiteResult:
    """Read what `write_suite` wrote.

    Raises:
        BadFileError: missing, not the result of a suite, or of a newer version.
    """
    try:
        document = json.loads(path.read_text())
        if document["kind"] != KIND:
            raise ValueError(f"kind is {document['kind']!r}")
        if document["version"] > VERSION:
            raise BadFileError(
                f"{path} is a suite of version {document['version']}; this edgesr reads up to "
                f"{VERSION}: update it"
            )
        fields = known(SuiteResult, document)
        fields["runs"] = [result_from(run) for run in document["runs"]]
        fields["quality"] = [Quality(**known(Quality, one)) for one in document["quality"]]
        fields["failures"] = [Failure(**known(Failure, one)) for one in document["failures"]]
        return SuiteResult(**fields)
    except OSError as error:
        raise BadFileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(
            f"{path} is not a result of `edgesr bench --suite` ({error!r}); a result of "
            "`edgesr bench --out` is another kind of file"
        ) from error

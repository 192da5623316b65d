"""What the report is made of: result files, told apart by what is in them.

Files of `edgesr bench --out`, of `edgesr bench --suite` and of the quantization table go in, in any
mixture. A file that is none of these is refused with its name; a row that is nonsense is left out
and listed among the failures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgesr.benchmarks.documents import Document, read_document
from edgesr.benchmarks.quantization import VERSION as QUANTIZATION_VERSION
from edgesr.benchmarks.report.numbers import is_number, number
from edgesr.benchmarks.results import BenchResult, Row, read_result
from edgesr.benchmarks.suite.result import KIND as SUITE
from edgesr.benchmarks.suite.result import Failure, Quality, SuiteResult, read_suite

from edgesr.errors import BadFileError

KINDS = "`edgesr bench --out`, `edgesr bench --suite`, `python -m edgesr.benchmarks.quantization`"


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes:
        name: without folders, which are nobody's business.
        kind: `bench`, `suite` or `quantization`.
        sha256: of its bytes.
        command: what wrote it, as far as it says.
    """

    name: str
    kind: str
    sha256: str
    command: str = ""


@dataclass(frozen=True)
class Timing:
    """One run with the file it comes from."""

    source: Source
    result: BenchResult


@dataclass(frozen=True)
class Inputs:
    """Everything that was read."""

    sources: list[Source] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    quality: list[Quality] = field(default_factory=list)
    quantization: list[Document] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read result files.

    Raises:
        BadFileError: one is missing, damaged, of a newer version, or no result.
    """
    inputs = Inputs()
    for path in paths:
        _read(path, inputs)
    return inputs


def _read(path: Path, inputs: Inputs) -> None:
    content, document = _load(path)
    kind = _kind(document)
    if kind is None:
        raise BadFileError(f"{path} is no result that a report can be made of; these are: {KINDS}")
    source = Source(path.name, kind, hashlib.sha256(content).hexdigest(), _command(document))
    inputs.sources.append(source)
    if kind == "bench":
        _take_runs([read_result(path)], source, inputs)
    elif kind == "suite":
        suite: SuiteResult = read_suite(path)
        _take_runs(suite.runs, source, inputs)
        inputs.quality.extend(suite.quality)
        inputs.failures.extend(suite.failures)
    else:
        inputs.quantization.append(read_document(path, QUANTIZATION_VERSION))


def _load(path: Path) -> tuple[bytes, dict[str, Any]]:
    if path.is_dir():
        raise BadFileError(f"{path} is a folder; name the result files in it")
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except OSError as error:
        raise BadFileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadFileError(f"{path} is damaged, it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadFileError(f"{path} is no result that a report can be made of; these are: {KINDS}")
    return content, document


def _kind(document: dict[str, Any]) -> str | None:
    if document.get("kind") == SUITE:
        return "suite"
    if {"rows", "plan", "machine"} <= document.keys():
        return "bench"
    rows = document.get("rows")
    if isinstance(rows, list) and {"calibration_images", "protocol"} <= document.keys():
        return "quantization"
    return None


def _command(document: dict[str, Any]) -> str:
    provenance = document.get("provenance")
    told = provenance.get("command") if isinstance(provenance, dict) else document.get("command")
    if isinstance(told, list):
        return " ".join(map(str, told))
    return told if isinstance(told, str) else ""


def _take_runs(runs: Sequence[BenchResult], source: Source, inputs: Inputs) -> None:
    for result in runs:
        sound = []
        for row in result.rows:
            problem = _problem(row)
            if problem:
                cell = f"{row.artifact} in {row.runtime}, {row.threads} thread(s)"
                inputs.failures.append(Failure(cell, str(row.device), problem, 1))
            else:
                sound.append(_cleaned(row))
        peaks = [one for one in result.peaks if one.samples and all(map(_is_time, one.samples))]
        copies = [one for one in result.copies if one.samples and all(map(_is_time, one.samples))]
        whole = replace(result, rows=sound, peaks=peaks, copies=copies)
        inputs.timings.append(Timing(source, whole))


def _problem(row: Row) -> str:
    """Why a row cannot be shown; empty if it can."""
    wrong = sum(not _is_time(sample) for sample in row.samples)
    if wrong:
        return f"{wrong} of {len(row.samples)} samples are no times; run it again"
    sizes = (row.height, row.width, row.scale, row.threads)
    if not all(is_number(size) and size > 0 for size in sizes):
        return "height, width, scale or threads are no numbers above zero; run it again"
    return ""


def _cleaned(row: Row) -> Row:
    """The row without figures that are none: what is not known may be left out."""
    macs, moved = number(row.macs), number(row.bytes_moved)
    return replace(
        row,
        macs=int(macs) if macs and macs > 0 else None,
        bytes_moved=int(moved) if moved and moved > 0 else None,
        notes=tuple(map(str, row.notes)),
        manifest=_mapping(row.manifest),
        estimate=_mapping(row.estimate),
        facts=_mapping(row.facts),
        phases={name: ms for name, ms in _mapping(row.phases).items() if is_number(ms)},
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_time(sample: object) -> bool:
    return is_number(sample) and sample > 0  # type: ignore[operator]

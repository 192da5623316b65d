"""Every network through every quantizer, judged on the same images."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from edgesr.benchmarks.candidates import candidates_for
from edgesr.benchmarks.machine import usable_cores
from edgesr.benchmarks.peers.environments import AI_EDGE, NNCF, TENSORFLOW_PTQ, Peer, environment
from edgesr.benchmarks.peers.quantizers.files import float_operators, open_file
from edgesr.benchmarks.peers.quantizers.handover import FILES, hand_over
from edgesr.benchmarks.quality import Quality, judge
from edgesr.benchmarks.subjects import Subject, load_subject

from edgesr.data.datasets import Dataset
from edgesr.data.images import Image
from edgesr.errors import EdgesrError
from edgesr.evaluate import Upscaler
from edgesr.manifest import sha256_of
from edgesr.network import Network
from edgesr.runtime import NetworkSession

OURS = "edgesr"
_HERE = Path(__file__).parent
Row = dict[str, Any]


@dataclass(frozen=True)
class Quantizer:
    """A tool with the settings it is asked for.

    Attributes:
        name: of the row.
        peer: its environment; None runs in ours.
        script: in this folder.
        suffix: of its file, which decides the runtime.
        option: the script's last argument.
        hoards: keeps every value of every photo in memory: 18 GB for IMDN. Not asked of deep
            networks.
    """

    name: str
    peer: Peer | None
    script: str
    suffix: str
    option: str
    hoards: bool = False


QUANTIZERS = (
    Quantizer("onnxruntime", None, "by_onnxruntime.py", ".onnx", "default"),
    Quantizer("onnxruntime u8s8", None, "by_onnxruntime.py", ".onnx", "u8s8"),
    Quantizer("onnxruntime percentile", None, "by_onnxruntime.py", ".onnx", "percentile", True),
    Quantizer("onnxruntime entropy", None, "by_onnxruntime.py", ".onnx", "entropy", True),
    Quantizer("nncf", NNCF, "by_nncf.py", ".xml", "default"),
    Quantizer("nncf minmax", NNCF, "by_nncf.py", ".xml", "minmax"),
    Quantizer("ai-edge-quantizer", AI_EDGE, "by_ai_edge.py", ".tflite", "static_wi8_ai8"),
    Quantizer("tensorflow", TENSORFLOW_PTQ, "by_tensorflow.py", ".tflite", "default"),
)


def compare(
    subject: Subject,
    quantizers: Sequence[Quantizer],
    sets: Sequence[Dataset],
    photos: Sequence[Image],
    known: Sequence[Row],
    *,
    environments: Path | None,
    work: Path,
    states: Path | None = None,
) -> list[Row]:
    """One row per tool and set; rows of `known` that still hold are kept.

    Args:
        photos: for calibration, all of one size.
        environments: folder of the peers' environments; None leaves those out that need one.
        work: files and handed folders are kept here.
        states: see `load_subject`.
    """
    network = load_subject(subject, states)
    folder = work / subject.name.replace(" ", "-")
    hand_over(network, photos, folder)
    entries = [_ours(subject, network, photos)]
    able = [q for q in quantizers if not (q.hoards and subject.group == "deep")]
    entries += [_theirs(quantizer, network, folder, environments) for quantizer in able]
    before = {(row["tool"], row["set"]): row for row in known}
    rows = []
    for data in sets:
        held = {
            entry.name: row
            for entry in entries
            if (row := before.get((entry.name, data.name))) and _holds(row, entry, data)
        }
        fresh = _measure(network, [e for e in entries if e.name not in held], data)
        rows += [
            {"network": subject.name, "set": data.name, **(held.get(e.name) or fresh[e.name])}
            for e in entries
        ]
    return rows


@dataclass(frozen=True)
class _Opened:
    """What runs, or the reason why nothing does, and what is known of it."""

    run: Upscaler | None
    facts: Row


@dataclass(frozen=True)
class _Entry:
    """A quantized network to be judged; made when it is needed, and once."""

    name: str
    made_from: str
    open: Callable[[], _Opened]


def _ours(subject: Subject, network: Network, photos: Sequence[Image]) -> _Entry:
    ptq, *_ = candidates_for(subject, network, photos)

    def make() -> _Opened:
        start = time.perf_counter()
        made = ptq.make()
        seconds = time.perf_counter() - start
        return _Opened(
            made.run, {"seconds": seconds, "float_operators": {}, "steps": made.steps}
        )  # fmt: skip

    return _Entry(OURS, ptq.made_from, cache(make))


def _theirs(
    quantizer: Quantizer, network: Network, folder: Path, environments: Path | None
) -> _Entry:
    """A tool's file, converted unless it is there. A tool that fails gets a row that says so."""
    script = _HERE / quantizer.script
    parts = [folder / name for name in FILES]
    made_from = hashlib.sha256(f"{sha256_of(*parts, script)} {quantizer.name}".encode()).hexdigest()
    out = folder / f"{quantizer.name.replace(' ', '-')}{quantizer.suffix}"
    report = out.with_suffix(".json")

    def make() -> _Opened:
        try:
            if not _is_from(report, made_from):
                told = _convert(quantizer, script, folder, out, environments)
                report.write_text(json.dumps({**told, "made_from": made_from}))
            told = json.loads(report.read_text())
            facts = {key: told[key] for key in ("seconds", "versions")}
            facts["float_operators"] = float_operators(out)
            return _Opened(open_file(out, network.value_range), facts)
        except (EdgesrError, RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return _Opened(None, {"error": reason[:300]})

    return _Entry(quantizer.name, made_from, cache(make))


def _convert(
    quantizer: Quantizer, script: Path, folder: Path, out: Path, environments: Path | None
) -> Row:
    if quantizer.peer is None:
        python = Path(sys.executable)
    elif environments is None:
        raise RuntimeError("needs an environment of its own: give --cache")
    else:
        python = environment(quantizer.peer, environments)
    done = subprocess.run(
        [str(python), str(script), str(folder), str(out), quantizer.option],
        capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    if done.returncode or not out.exists():
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    told: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def _is_from(report: Path, made_from: str) -> bool:
    return report.exists() and json.loads(report.read_text())["made_from"] == made_from


def _holds(row: Row, entry: _Entry, data: Dataset) -> bool:
    return row.get("made_from") == entry.made_from and tuple(row.get("images", ())) == data.labels


def _measure(network: Network, entries: Sequence[_Entry], data: Dataset) -> dict[str, Row]:
    assert isinstance(network.scale, int)
    opened = {entry.name: entry.open() for entry in entries}
    runs = {name: entry.run for name, entry in opened.items() if entry.run is not None}
    found: dict[str, Quality] = {}
    if runs:
        fp32 = NetworkSession(network, usable_cores()).run
        exact, found = judge(fp32, runs, data, network.scale)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        entry.name: {
            "tool": entry.name, "made_from": entry.made_from, **opened[entry.name].facts,
            "date": date, **(_flat(exact, found[entry.name]) if entry.name in found else {}),
        }
        for entry in entries
    }  # fmt: skip


def _flat(exact: Quality, quality: Quality) -> Row:
    return {
        "images": list(quality.images), "fp32": exact.mean, "mean": quality.mean,
        "drop": exact.mean - quality.mean, "against_fp32": quality.against_fp32,
        "psnr": [round(value, 4) for value in quality.psnr],
    }  # fmt: skip

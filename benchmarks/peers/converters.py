"""Our TFLite file against those of TensorFlow's converter, litert-torch and onnx2tf.

    python -m edgesr.benchmarks.peers.converters --cache ~/.cache/edgesr-peers --out results.json

Same weights, same calibration images, same size; every file is timed in turns with the others in
one run of one runtime (LiteRT with XNNPACK). Quality stands beside speed: dB against the network
itself in fp32, on an image that nobody calibrated with. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.entrants import load_network
from edgesr.benchmarks.harness import Contender, Plan, measure
from edgesr.benchmarks.machine import Load, LoadMeter, Machine, this_machine
from edgesr.benchmarks.peers import exchange, tflite_file
from edgesr.benchmarks.peers.environments import (
    LITERT_TORCH,
    ONNX2TF,
    TENSORFLOW,
    Peer,
    environment,
)
from edgesr.benchmarks.peers.exchange import Chain, Image
from edgesr.benchmarks.statistics import Summary, summarize
from PIL import Image as Pillow

from edgesr.errors import EdgesrError, OutputExistsError, UsageError
from edgesr.manifest import sha256_of, write_atomically

OURS = "edgesr"
OUR_ENDS = ("uint8", "int8", "float32")


@dataclass(frozen=True)
class Contestant:
    """A peer, with the back-end it is asked to use."""

    name: str
    peer: Peer
    options: tuple[str, ...] = ()


CONTESTANTS = (
    Contestant("tensorflow", TENSORFLOW),
    Contestant("litert-torch", LITERT_TORCH),
    Contestant("onnx2tf", ONNX2TF, ("tf_converter",)),
    Contestant("onnx2tf-direct", ONNX2TF, ("flatbuffer_direct",)),
)


@dataclass
class File:
    """One converted network: how it was made, what is in it, how fast and how true it is."""

    network: str
    tool: str
    precision: str
    path: Path | None = None
    seconds: float | None = None
    """Conversion, without starting Python and importing the tool."""
    versions: dict[str, str] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    size: int = 0
    input_type: str = ""
    sha256: str = ""
    decibel: float | None = None
    """PSNR of its pixels against the fp32 network's, all channels; None when identical."""
    samples: list[float] = field(default_factory=list)
    error: str = ""
    """Why there is no file."""

    @property
    def summary(self) -> Summary:
        """Latency in ms."""
        return summarize(self.samples)


@dataclass(frozen=True)
class Comparison:
    """All files of one interleaved run."""

    files: list[File]
    networks: dict[str, dict[str, object]]
    height: int
    width: int
    threads: int
    calibration: list[str]
    plan: Plan
    machine: Machine
    load: Load
    started: str

    def table(self) -> list[dict[str, Any]]:
        """One flat mapping per file; `ratio` is how much longer it takes than ours with the same
        element type at its ends, or else with uint8."""
        return [self._flat(file) for file in self.files]

    def _flat(self, file: File) -> dict[str, Any]:
        flat: dict[str, Any] = {
            "network": file.network, "precision": file.precision, "tool": file.tool,
            "operators": sum(file.operators.values()) or None,
            "transposes": file.operators.get("TRANSPOSE", 0) if file.operators else None,
            "size_kb": round(file.size / 1e3) or None, "input": file.input_type,
            "seconds": file.seconds, "decibel": file.decibel,
        }  # fmt: skip
        if file.samples:
            ours = self._ours_for(file)
            flat |= {"median_ms": file.summary.median, "best_ms": file.summary.best}
            if ours is not None and ours.samples:
                flat["ratio"] = file.summary.median / ours.summary.median
                flat["best_ratio"] = file.summary.best / ours.summary.best
        return flat | {"error": file.error}

    def _ours_for(self, file: File) -> File | None:
        kind = (file.network, file.precision, OURS)
        ours = [f for f in self.files if (f.network, f.precision, f.tool) == kind]
        alike = [f for f in ours if f.input_type == file.input_type]
        return next(iter([*alike, *ours]), None)

    def to_json(self) -> str:
        """Everything, raw samples included."""
        document = {**asdict(self), "table": self.table()}
        for file in document["files"]:
            file["path"] = file["path"] and Path(file["path"]).name
        return json.dumps(document, indent=1) + "\n"


def compare(
    networks: Sequence[str],
    *,
    cache: Path,
    work: Path,
    calibration: Sequence[Image],
    image: Image,
    contestants: Sequence[Contestant] = CONTESTANTS,
    precisions: Sequence[str] = ("int8",),
    threads: int = 1,
    plan: Plan | None = None,
    calibration_names: Sequence[str] = (),
) -> Comparison:
    """Convert every network with every tool, then time all files in one interleaved run.

    Args:
        networks: names or checkpoints of Plain and NCNet.
        cache: where the peers' environments lie or are built.
        work: where the files go.
        calibration: uint8 images, all of the input size wanted.
        image: of the same size; quality is measured on it.
        contestants: the peers.
        precisions: of `int8`, `fp32`.
        threads: of LiteRT.
        plan: of the timing.
        calibration_names: for the record.
    """
    height, width = image.shape[:2]
    started = datetime.now(UTC).isoformat(timespec="seconds")
    files, chains = [], {}
    for spec in networks:
        network = load_network(spec)
        folder = work / network.name
        chain = exchange.write_exchange(network, calibration, folder, height, width)
        chains[network.name] = chain
        for precision in precisions:
            for ends in OUR_ENDS if precision == "int8" else OUR_ENDS[:1]:
                files.append(_export_ours(spec, folder, precision, ends, calibration))
            files += [_convert(c, network.name, folder, precision, cache) for c in contestants]
    for file in files:
        _inspect(file, chains[file.network], image)
    plan = plan or Plan()
    meter = LoadMeter()
    _time(files, threads, plan)
    load = meter.stop()
    return Comparison(
        files, {name: exchange.as_jsonable(chain) for name, chain in chains.items()},
        height, width, threads, list(calibration_names), plan, this_machine(), load, started,
    )  # fmt: skip


def _export_ours(
    spec: str, folder: Path, precision: str, ends: str, calibration: Sequence[Image]
) -> File:
    from edgesr.export import export

    network = load_network(spec)
    file = File(network.name, OURS, precision, versions=this_machine().packages)
    start = time.perf_counter()
    artifact = export(
        network, target="tflite", precision=precision, shape=calibration[0].shape[:2], io=ends,
        out=folder / OURS / ends, calibration=calibration, force=True,
    )  # fmt: skip
    file.seconds, file.path = time.perf_counter() - start, artifact.path
    return file


def _convert(
    contestant: Contestant, network: str, folder: Path, precision: str, cache: Path
) -> File:
    """Run the peer in its own environment. A peer that fails gets a row that says so.

    A file that the same tool made from the same weights and images is taken again, with the time
    it took then: conversions are minutes, timings seconds.
    """
    file = File(network, contestant.name, precision)
    out = folder / f"{contestant.name}_{precision}.tflite"
    report, script = out.with_suffix(".json"), Path(__file__).parent / contestant.peer.script
    made_from = sha256_of(*(folder / name for name in exchange.FILES), script)
    if not _is_from(report, made_from):
        out.unlink(missing_ok=True)
        try:
            python = environment(contestant.peer, cache)
        except EdgesrError as error:
            file.error = str(error)
            return file
        done = subprocess.run(
            [str(python), str(script), str(folder), str(out), precision, *contestant.options],
            capture_output=True, text=True, check=False, timeout=1800,
        )  # fmt: skip
        if done.returncode or not out.exists():
            file.error = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return file
        told = json.loads(done.stdout.strip().splitlines()[-1])
        report.write_text(json.dumps({**told, "made_from": made_from}))
    told = json.loads(report.read_text())
    file.path, file.seconds, file.versions = out, told["seconds"], told["versions"]
    return file


def _is_from(report: Path, made_from: str) -> bool:
    """Whether a report tells of a file made from just this."""
    return report.exists() and json.loads(report.read_text())["made_from"] == made_from


def _inspect(file: File, chain: Chain, image: Image) -> None:
    if file.path is None:
        return
    file.size, file.sha256 = file.path.stat().st_size, sha256_of(file.path)
    file.operators = tflite_file.operators(file.path)
    try:
        model = tflite_file.Model(file.path, threads=1)
        file.input_type = model.input_type
        file.decibel = decibel(model.run(image), exchange.reference(chain, image))
    except (RuntimeError, ValueError) as error:
        file.error, file.path = f"LiteRT does not run it: {str(error).splitlines()[0]}", None


def decibel(a: Image, b: Image) -> float | None:
    """PSNR of all values of two images; None when they are equal."""
    mean_square = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float(10 * np.log10(255**2 / mean_square)) if mean_square else None


def _time(files: Sequence[File], threads: int, plan: Plan) -> None:
    runnable = [file for file in files if file.path is not None]
    contenders = []
    for file in runnable:
        assert file.path is not None
        model = tflite_file.Model(file.path, threads)
        contenders.append(Contender(f"{file.network} {file.tool}", model.invoke))
    for file, samples in zip(runnable, measure(contenders, plan), strict=True):
        file.samples = samples


def images_of(folder: Path, height: int, width: int, count: int) -> tuple[list[str], list[Image]]:
    """The first `count` images of a folder, repeated to fill, or cropped to, the size.

    Raises:
        UsageError: the folder holds no image.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix in {".png", ".webp", ".jpg"})[:count]
    if not paths:
        raise UsageError(f"{folder} holds no PNG, WebP or JPEG image")
    return [path.name for path in paths], [_fill(path, height, width) for path in paths]


def _fill(path: Path, height: int, width: int) -> Image:
    pixels = np.asarray(Pillow.open(path).convert("RGB"))
    rows, columns = -(-height // pixels.shape[0]), -(-width // pixels.shape[1])
    return np.ascontiguousarray(np.tile(pixels, (rows, columns, 1))[:height, :width])


_HEADINGS = (
    "network", "precision", "tool", "operators", "transposes", "size_kb", "input", "seconds",
    "decibel", "median_ms", "best_ms", "ratio", "best_ratio", "error",
)  # fmt: skip


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """The rows as aligned text."""

    def cell(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.2f}" if isinstance(value, float) else str(value)[:60]

    lines = [_HEADINGS, *(tuple(cell(row.get(key)) for key in _HEADINGS) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADINGS))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; `--help` explains."""
    samples = Path(exchange.__file__).parents[2] / "edgesr" / "data" / "samples"
    parser = argparse.ArgumentParser(prog="converters", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["plain-m-x3", "ncnet-x3"])
    parser.add_argument("--peers", nargs="+", default=[c.name for c in CONTESTANTS])
    parser.add_argument("--precisions", nargs="+", default=["int8"], choices=["int8", "fp32"])
    parser.add_argument("--cache", type=Path, required=True, help="the peers' environments")
    parser.add_argument("--work", type=Path, help="keep the files here for another run")
    parser.add_argument("--calibration", type=Path, default=samples / "calibration")
    parser.add_argument("--evaluation", type=Path, default=samples / "evaluation")
    parser.add_argument("--shape", default="360x640")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--force", action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.out and chosen.out.exists() and not chosen.force:
        raise OutputExistsError(f"{chosen.out} exists already; --force overwrites it")
    height, width = map(int, chosen.shape.split("x"))
    names, calibration = images_of(chosen.calibration, height, width, 5)
    _, evaluation = images_of(chosen.evaluation, height, width, 1)
    with tempfile.TemporaryDirectory() as scratch:
        result = compare(
            chosen.networks, cache=chosen.cache, work=chosen.work or Path(scratch),
            calibration=calibration, image=evaluation[0],
            contestants=[c for c in CONTESTANTS if c.name in chosen.peers],
            precisions=chosen.precisions, threads=chosen.threads, plan=Plan(runs=chosen.runs),
            calibration_names=names,
        )  # fmt: skip
    if chosen.out:
        write_atomically(chosen.out, result.to_json().encode())
    print_table(result.table())


if __name__ == "__main__":
    try:
        main()
    except EdgesrError as error:
        sys.exit(f"converters: {error}")

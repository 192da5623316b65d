"""Our files against other runtimes with their own converters: ExecuTorch, ncnn and MNN.

    python -m edgesr.benchmarks.peers.runtimes --cache ~/.cache/edgesr-peers --out runtimes.json

Same weights, same photos, same size. Each runtime is a process of its own; they take turns, one
inference each, and tell the processor time it took, one thread, so that a busy machine slows
nobody. dB is against the network itself in fp32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.documents import write_document
from edgesr.benchmarks.entrants import load_network
from edgesr.benchmarks.machine import this_machine
from edgesr.benchmarks.markdown import replace_section, table
from edgesr.benchmarks.peers import exchange
from edgesr.benchmarks.peers.converters import decibel, images_of
from edgesr.benchmarks.peers.environments import EXECUTORCH, MNN, NCNN, Peer, environment
from edgesr.benchmarks.peers.exchange import Image
from edgesr.benchmarks.statistics import summarize
from edgesr.export import export

from edgesr.errors import EdgesrError, EnvironmentLimitError

OURS = "edgesr"
_HERE = Path(__file__).parent
RESULT = _HERE.parent / "results" / "runtimes.json"
COLUMNS = {
    "network": "network", "precision": "precision", "tool": "runtime", "median": "ms",
    "spread": "± %", "ratio": "ms / ours", "decibel": "vs fp32 dB", "size": "KiB",
    "seconds": "s to convert", "delegated": "whole graph", "error": "note",
}  # fmt: skip


@dataclass(frozen=True)
class Runtime:
    """A converter with its runtime.

    Attributes:
        name: of the row.
        peer: its environment and script; None is ours.
        suffix: of its file.
        target: what edgesr writes for it; empty where the peer converts.
        method: another way of the peer to quantize, for its script; such a row has no fp32.
    """

    name: str
    peer: Peer | None
    suffix: str
    target: str = ""
    method: str = ""


RUNTIMES = (
    Runtime(OURS, None, ".tflite", "tflite"),
    Runtime("executorch", EXECUTORCH, ".pte"),
    Runtime("ncnn", NCNN, ".ncnn.param"),
    Runtime("edgesr in ncnn", NCNN, ".ncnn.param", "ncnn"),
    Runtime("mnn", MNN, ".mnn"),
    Runtime("mnn ema", MNN, ".mnn", method="-ema"),
    Runtime("mnn ema winograd", MNN, ".mnn", method="-ema-winograd"),
)


@dataclass
class Row:
    """One file in its runtime."""

    network: str
    precision: str
    tool: str
    seconds: float | None = None
    """Conversion, without starting Python and importing the tool."""
    size: float | None = None
    """KiB, all files together."""
    operators: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    """Operators that its fast kernels do not take."""
    versions: dict[str, str] = field(default_factory=dict)
    decibel: float | None = None
    """PSNR of its pixels against the fp32 network's; None when identical, or when it failed."""
    samples: list[float] = field(default_factory=list)
    """ms of processor time."""
    error: str = ""


def compare(
    networks: Sequence[str],
    precisions: Sequence[str],
    photos: Sequence[Image],
    image: Image,
    runtimes: Sequence[Runtime] = RUNTIMES,
    *,
    cache: Path,
    work: Path,
    runs: int,
) -> list[Row]:
    """Convert with every tool, then run all files in turns.

    Args:
        photos, image: for calibration and for dB, uint8, all of the input size wanted.
        cache: the peers' environments.
        work: files are kept here.
    """
    rows, commands = [], []
    expected = {}
    for spec in networks:
        network, folder = load_network(spec), work / spec
        chain = exchange.write_exchange(network, photos, folder, *image.shape[:2])
        expected[spec] = exchange.reference(chain, image)
        planar = np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        np.save(folder / "input.npy", planar)
        for precision in precisions:
            for runtime in runtimes:
                if runtime.method and precision == "fp32":
                    continue
                row = Row(spec, precision, runtime.name)
                rows.append(row)
                try:
                    commands.append(_converted(row, runtime, folder, photos, cache))
                except EdgesrError as error:
                    row.error = str(error)
                    commands.append([])
    _run(rows, commands, runs)
    for row, command in zip(rows, commands, strict=True):
        if row.samples:
            row.decibel = decibel(_pixels(Path(command[-1])), expected[row.network])
    return rows


def _converted(
    row: Row, runtime: Runtime, folder: Path, photos: Sequence[Image], cache: Path
) -> list[str]:
    """Make the file; the command that serves it."""
    output = str(folder / f"{runtime.name}_{row.precision}.npy")
    served = [str(folder / "input.npy"), output]
    if runtime.target:
        start = datetime.now(UTC)
        artifact = export(
            load_network(row.network), target=runtime.target, precision=row.precision, out=folder,
            shape=photos[0].shape[:2], io="float32", calibration=photos, force=True,
        )  # fmt: skip
        row.seconds = (datetime.now(UTC) - start).total_seconds()
        row.size, row.operators = artifact.manifest.size / 1024, artifact.manifest.operators
        tools = ("edgesr", "ai-edge-litert" if runtime.peer is None else "ncnn")
        row.versions = {name: artifact.manifest.tools[name] for name in tools}
        if runtime.peer is None:
            return [sys.executable, str(_HERE / "run_litert.py"), str(artifact.path), *served]
    assert runtime.peer is not None
    python, script = str(environment(runtime.peer, cache)), str(_HERE / runtime.peer.script)
    if runtime.target:
        return [python, script, "serve", str(artifact.path), *served]
    file = folder / f"{runtime.name}_{row.precision}{runtime.suffix}"
    given = [str(folder.resolve()), str(file.resolve()), row.precision + runtime.method]
    done = subprocess.run(
        [python, script, "convert", *given],
        capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    if done.returncode or not file.exists():
        raise EnvironmentLimitError((done.stderr.strip().splitlines() or ["no message"])[-1][:200])
    told = json.loads(done.stdout.strip().splitlines()[-1])
    row.seconds, row.operators, row.left = told["seconds"], told["operators"], told["left"]
    row.versions = told["versions"]
    parts = [file, file.with_suffix(".bin")]
    row.size = sum(part.stat().st_size for part in parts if part.exists()) / 1024
    return [python, script, "serve", str(file), *served]


def _run(rows: Sequence[Row], commands: Sequence[list[str]], runs: int) -> None:
    """All processes at once, one inference at a time; the first of each is not counted."""
    with ExitStack() as stack:
        servers = [
            (row, stack.enter_context(_server(command)))
            for row, command in zip(rows, commands, strict=True)
            if command
        ]
        for turn in range(runs + 1):
            for row, server in servers:
                spent = None if row.error else _ask(row, server)
                if spent is not None and turn:
                    row.samples.append(spent)


def _ask(row: Row, server: subprocess.Popen[str]) -> float | None:
    assert server.stdin is not None and server.stdout is not None
    try:
        server.stdin.write("go\n")
        server.stdin.flush()
        for line in server.stdout:
            if line.startswith('{"ms"'):
                return float(json.loads(line)["ms"])
    except OSError:
        pass
    row.samples, row.error = [], f"its runtime died (exit code {server.wait()})"
    return None


@contextmanager
def _server(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield server
    finally:
        server.kill()
        server.communicate()


def _pixels(output: Path) -> Image:
    values = np.load(output)[0].transpose(1, 2, 0)
    pixels: Image = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return pixels


def markdown(document: dict[str, Any]) -> str:
    """A row per network, precision and runtime."""
    rows = [Row(**row) for row in document["rows"]]
    summaries = {(r.network, r.precision, r.tool): summarize(r.samples) for r in rows if r.samples}
    lines = []
    for row in rows:
        line: dict[str, Any] = {key: getattr(row, key, None) for key in COLUMNS}
        own = summaries.get((row.network, row.precision, row.tool))
        ours = summaries.get((row.network, row.precision, OURS))
        if own is not None:
            line |= {"median": f"{own.median:.1f}", "spread": round(100 * own.spread)}
            line["delegated"] = "no" if row.left else "yes"
            line["decibel"] = "same" if row.decibel is None else f"{row.decibel:.1f}"
        if own is not None and ours is not None:
            line["ratio"] = f"{own.median / ours.median:.2f}"
        line |= {k: round(line[k]) for k in ("size", "seconds") if line[k] is not None}
        lines.append(line)
    versions = {name: v for row in rows for name, v in row.versions.items()}
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        f"{table(lines, COLUMNS)}\n{document['height']}x{document['width']}, ms of processor time "
        f"on one thread, float at both ends. Measured {document['started'][:10]} with {told}.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    samples = Path(exchange.__file__).parents[2] / "edgesr" / "data" / "samples"
    parser = argparse.ArgumentParser(prog="runtimes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["plain-m-x3", "ncnet-x3"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    peers = [EXECUTORCH.name, NCNN.name, MNN.name]
    parser.add_argument("--peers", nargs="*", default=peers, choices=peers)
    parser.add_argument("--cache", type=Path, required=True, help="the peers' environments")
    parser.add_argument("--work", type=Path, help="keep the files here")
    parser.add_argument("--calibration", type=Path, default=samples / "calibration")
    parser.add_argument("--evaluation", type=Path, default=samples / "evaluation")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args(arguments)
    runtimes = [r for r in RUNTIMES if r.peer is None or r.peer.name in chosen.peers]
    height, width = 360, 640
    try:
        _, photos = images_of(chosen.calibration, height, width, 5)
        _, (image, *_) = images_of(chosen.evaluation, height, width, 1)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        with tempfile.TemporaryDirectory() as scratch:
            rows = compare(
                chosen.networks, chosen.precisions, photos, image, runtimes,
                cache=chosen.cache, work=chosen.work or Path(scratch), runs=chosen.runs,
            )  # fmt: skip
        document = {
            "version": 1, "command": "python -m edgesr.benchmarks.peers.runtimes",
            "height": height, "width": width, "started": started,
            "machine": asdict(this_machine()), "rows": [asdict(row) for row in rows],
        }  # fmt: skip
        write_document(document, chosen.out)
        text = markdown(document)
        if chosen.readme:
            replace_section(chosen.readme, "runtimes", text)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

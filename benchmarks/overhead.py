"""What the harness itself costs, and whether it finds what the runtimes' own tools find.

    python -m edgesr.benchmarks.overhead FILE.tflite FILE.xml [--out overhead.json]

Overhead is what a turn takes besides the timed call: two clock readings and a loop, timed as a
call of nothing, over the model's median. The tools are LiteRT's `litert-benchmark` and OpenVINO's
`benchmark_app`; they run in turns with a fresh process of ours, several times, because a machine
that serves somebody else moves the median of a single run by more than what is looked for.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.entrants import Entrant, line_up
from edgesr.benchmarks.harness import Contender, Plan, measure
from edgesr.benchmarks.machine import LoadMeter, this_machine

from edgesr.errors import EnvironmentLimitError, UsageError
from edgesr.manifest import write_atomically

EMPTY_CALLS = 3000


@dataclasses.dataclass(frozen=True)
class Tool:
    """A runtime's own benchmark: its command, and how its median is read."""

    name: str
    command: Callable[[Path, int, Path], list[str]]
    read: Callable[[str, Path], float]


def _litert(artifact: Path, runs: int, report: Path) -> list[str]:
    return [
        sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model",
        f"--model={artifact}", f"--num_runs={runs}", "--warmup_runs=3", "--num_threads=1",
        f"--result_json={report}",
    ]  # fmt: skip


def _litert_median(_said: str, report: Path) -> float:
    return float(json.loads(report.read_text())["latency"]["median_ms"])


def _openvino(artifact: Path, runs: int, _report: Path) -> list[str]:
    return [
        sys.executable, "-c", "from openvino.tools.benchmark.main import main; main()",
        "-m", str(artifact), "-d", "CPU",
        "-api", "sync", "-niter", str(runs), "-nthreads", "1", "-hint", "none", "-nstreams", "1",
    ]  # fmt: skip


def _openvino_median(said: str, _report: Path) -> float:
    found = re.search(r"Median:\s+([\d.]+) ms", said)
    if found is None:
        raise ValueError("no median in the output")
    return float(found[1])


TOOLS = {
    ".tflite": Tool("litert-benchmark", _litert, _litert_median),
    ".xml": Tool("benchmark_app", _openvino, _openvino_median),
}


def empty_call_ms() -> float:
    """Median time the harness measures for a call that does nothing."""
    (samples,) = measure([Contender("nothing", lambda: None)], Plan(runs=EMPTY_CALLS))
    return median(samples)


def tool_median(tool: Tool, artifact: Path, runs: int) -> float:
    """What the runtime's own tool says, in ms.

    Raises:
        EnvironmentLimitError: it failed, or says something else.
    """
    with tempfile.TemporaryDirectory(prefix="edgesr-overhead-") as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            tool.command(artifact, runs, report), capture_output=True, text=True, check=False,
            cwd=folder, timeout=600,
        )  # fmt: skip
        try:
            return tool.read(done.stdout + done.stderr, report)
        except (OSError, ValueError, KeyError) as error:
            last = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
            raise EnvironmentLimitError(
                f"{tool.name} on {artifact.name} ended with code {done.returncode}: {last}"
            ) from error


def compare(artifact: Path, runs: int, repeats: int) -> dict[str, Any]:
    """Medians of ours and the tool's, taken in turns.

    Raises:
        UsageError: no tool of a runtime opens this kind of file.
    """
    tool = TOOLS.get(artifact.suffix)
    if tool is None:
        raise UsageError(f"no runtime's own tool is known for {artifact.name}: {', '.join(TOOLS)}")
    (entrant,) = line_up([str(artifact)])
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(_our_median(entrant, runs))
        theirs.append(tool_median(tool, artifact.resolve(), runs))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "artifact": artifact.name, "runtime": entrant.runtime, "tool": tool.name, "runs": runs,
        "ours_ms": ours, "tool_ms": theirs, "ratio": median(ratios),
        "best_ratio": min(ours) / min(theirs),
    }  # fmt: skip


def _our_median(entrant: Entrant, runs: int) -> float:
    plan = Plan(runs=runs, warm_up=3, turn=runs, processes=1)
    (row,) = bench([entrant], plan, memory=False).rows
    return row.summary.median


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write `--out`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    meter = LoadMeter()
    nothing = empty_call_ms()
    rows = [compare(path, given.runs, given.repeats) for path in given.artifacts]
    for row in rows:
        row["overhead_percent"] = 100 * nothing / min(row["ours_ms"])
    document = {
        "version": 1, "command": "python -m edgesr.benchmarks.overhead",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "empty_call_ms": nothing, "rows": rows,
        "machine": dataclasses.asdict(this_machine()),
        "load": dataclasses.asdict(meter.stop()),
    }  # fmt: skip
    text = json.dumps(document, indent=1) + "\n"
    if given.out:
        write_atomically(given.out, text.encode())
    sys.stdout.write(text)


if __name__ == "__main__":
    main()

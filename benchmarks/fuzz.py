"""Do the runtimes compute the integer reference? Random graphs, code by code.

    python -m edgesr.benchmarks.fuzz --cases 2000 [--runtimes litert,onnxruntime,openvino]
                                     [--seed 0] [--first 0] [--out FILE] [--force]

Every case (`fuzz_cases.py`) is written for each runtime, run on five images and compared with
`edgesr.quantize.integer`. LiteRT and ONNX Runtime must give the same codes on every graph of exact
operators, and differ by at most one code after a single inexact one; a case that fails is printed
with its number, `--first NUMBER --cases 1` repeats it. OpenVINO's share is reported, not required.
An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from edgesr.benchmarks.fuzz_cases import Case, Image, calls_of, cut, make, name_of
from edgesr.benchmarks.machine import this_machine
from edgesr.export import onnx, openvino, tflite
from edgesr.quantize import QuantizedGraph, integer
from edgesr.quantize.scheme import LOWEST

from edgesr.errors import EdgesrError, OutputExistsError
from edgesr.manifest import write_atomically
from edgesr.runtime.ort import session_options
from edgesr.runtime.ov import settings

RESULT = Path(__file__).parent / "results" / "int8_fuzz.json"
PROMISED = ("litert", "onnxruntime")
"""OpenVINO rescales sums of products in float: it comes close, without a promise."""

Codes = npt.NDArray[np.int16]
Run = Callable[[Image], Codes]
"""uint8 HxWxC in, codes CxHxW out."""


@dataclass(frozen=True)
class Outcome:
    """How one runtime did on one case, over all images."""

    identical: float
    """Share of codes."""
    worst: int
    """Largest difference in codes."""
    first: str = ""
    """The first operator that differs."""


@dataclass(frozen=True)
class Record:
    """What is kept of a case."""

    number: int
    kind: str
    exact: bool
    operators: list[str]
    description: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def bound(self) -> int:
        """Codes by which runtimes may differ: 0, or 1 after one inexact operator."""
        return 0 if self.exact else 1 if self.kind == "operator" else 255

    def failures(self) -> list[str]:
        """Runtimes that broke their promise."""
        return [
            runtime
            for runtime, outcome in self.outcomes.items()
            if runtime in PROMISED and outcome.worst > self.bound
        ]


# --- runtimes -------------------------------------------------------------------------------


def _open_litert(quantized: QuantizedGraph, height: int, width: int, folder: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "case.tflite"
    tflite.write(quantized, quantized.network, path, height, width)
    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]

    def run(image: Image) -> Codes:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        return _codes(interpreter.get_tensor(result)[0].transpose(2, 0, 1))

    return run


def _open_onnxruntime(quantized: QuantizedGraph, height: int, width: int, folder: Path) -> Run:
    import onnxruntime

    model = onnx.build(quantized, quantized.network, (height, width), precision="int8")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )

    def run(image: Image) -> Codes:
        return _codes(session.run(None, {"x": image.transpose(2, 0, 1)[None]})[0][0])

    return run


def _open_openvino(quantized: QuantizedGraph, height: int, width: int, folder: Path) -> Run:
    import openvino as package

    path = folder / "case.xml"
    openvino.write(quantized, quantized.network, path, (height, width), precision="int8")
    compiled = package.compile_model(str(path), "CPU", settings(1))

    def run(image: Image) -> Codes:
        return _codes(compiled(image.transpose(2, 0, 1)[None])[0][0])

    return run


OPENERS: dict[str, Callable[[QuantizedGraph, int, int, Path], Run]] = {
    "litert": _open_litert,
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
}


def _codes(unsigned: npt.NDArray[Any]) -> Codes:
    return unsigned.astype(np.int16) + LOWEST


# --- cases ----------------------------------------------------------------------------------


def check(case: Case, runtimes: Iterable[str], folder: Path) -> Record:
    """Run a case everywhere; where codes differ, look for the operator."""
    exact = integer.is_exact(case.quantized)
    record = Record(case.number, case.kind, exact, case.operators, case.description)
    for runtime in runtimes:
        outcome = compare(case.quantized, case.images, runtime, folder)
        if outcome.worst and exact and runtime in PROMISED:
            outcome = dataclasses.replace(outcome, first=_first(case, runtime, folder))
        record.outcomes[runtime] = outcome
    return record


def compare(quantized: QuantizedGraph, images: list[Image], runtime: str, folder: Path) -> Outcome:
    """Codes of the graph's output in this runtime against the reference."""
    height, width, _ = images[0].shape
    run = OPENERS[runtime](quantized, height, width, folder)
    equal = total = worst = 0
    for image in images:
        wanted = integer.run(quantized, image).transpose(2, 0, 1).astype(np.int16) + LOWEST
        apart = np.abs(run(image) - wanted)
        equal, total = equal + int((apart == 0).sum()), total + apart.size
        worst = max(worst, int(apart.max()))
    return Outcome(equal / total, worst)


def _first(case: Case, runtime: str, folder: Path) -> str:
    """The first node whose own codes differ."""
    for node in calls_of(case.quantized.graph):
        prefix = cut(case.quantized, node.name)
        if compare(prefix, case.images, runtime, folder).worst:
            return f"{name_of(node)} ({node.name})"
    return "nothing that stands alone"


def table(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Per operator and runtime: cases with it, share of them identical, and of their codes.

    Rows without `exact` are graphs whose scales could not be settled for every operator.
    """
    found: dict[tuple[bool, str, str], list[Outcome]] = {}
    for record in records:
        for name in dict.fromkeys(["(graph)", *record.operators]):
            for runtime, outcome in record.outcomes.items():
                found.setdefault((not record.exact, name, runtime), []).append(outcome)
    return [
        {
            "operator": name,
            "exact": not inexact,
            "runtime": runtime,
            "cases": len(outcomes),
            "identical_cases": sum(o.worst == 0 for o in outcomes) / len(outcomes),
            "identical_codes": float(np.mean([o.identical for o in outcomes])),
            "max_difference": max(o.worst for o in outcomes),
        }
        for (inexact, name, runtime), outcomes in sorted(found.items())
    ]


# --- command --------------------------------------------------------------------------------


def fuzz(
    cases: range,
    *,
    seed: int = 0,
    runtimes: Iterable[str] = tuple(OPENERS),
    keep: Path | None = None,
    report: Callable[[Record], object] = lambda record: None,
) -> list[Record]:
    """Run the cases of these numbers.

    Args:
        keep: one line per finished case is appended here, and read back when run again.
        report: called with every record as it is made.
    """
    known = _read(keep, seed) if keep is not None and keep.exists() else {}
    records = []
    if keep is not None and keep.exists() and not keep.read_text().endswith("\n"):
        with keep.open("a") as lines:
            lines.write("\n")
    with tempfile.TemporaryDirectory() as folder:
        for number in cases:
            record = known.get(number)
            if record is None or set(record.outcomes) != set(runtimes):
                record = check(make(number, seed), runtimes, Path(folder))
                if keep is not None:
                    with keep.open("a") as lines:
                        lines.write(json.dumps({"seed": seed, **dataclasses.asdict(record)}) + "\n")
            records.append(record)
            report(record)
    return records


def _read(path: Path, seed: int) -> dict[int, Record]:
    found = {}
    for line in path.read_text().splitlines():
        try:
            document = json.loads(line)
        except ValueError:  # the line that was being written when the run was killed
            continue
        if document.pop("seed") == seed:
            outcomes = {name: Outcome(**o) for name, o in document.pop("outcomes").items()}
            found[document["number"]] = Record(**document, outcomes=outcomes)
    return found


def document_of(records: list[Record], command: str, seed: int) -> Mapping[str, Any]:
    """What is written: the table, and every case that differed where it must not."""
    from importlib.metadata import version

    return {
        "version": 1,
        "command": command,
        "seed": seed,
        "cases": len(records),
        "exact_graphs": sum(record.exact for record in records),
        "failures": [dataclasses.asdict(r) for r in records if r.failures()],
        "runtimes": {
            "litert": version("ai-edge-litert"),
            "onnxruntime": version("onnxruntime"),
            "openvino": version("openvino"),
        },
        "machine": dataclasses.asdict(this_machine()),
        "table": table(records),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run, print the table, write the JSON; 1 if a promise was broken."""
    from edgesr.cli.output import progress, say, show_table

    parser = argparse.ArgumentParser(description="Runtimes against the integer reference.")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runtimes", default=",".join(OPENERS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runtimes = options.runtimes.split(",")
    try:
        if options.out and options.out.exists() and not options.force:
            raise OutputExistsError(f"{options.out} exists already; --force overwrites it")
        keep = options.out.with_suffix(".partial.jsonl") if options.out else None
        numbers = range(options.first, options.first + options.cases)
        with progress("cases", len(numbers)) as (bar, task):

            def report(record: Record) -> None:
                bar.advance(task)
                for runtime in record.failures():
                    outcome = record.outcomes[runtime]
                    say(
                        f"case {record.number}: {runtime} {outcome.worst} codes off, "
                        f"{outcome.identical:.4%} equal, first at {outcome.first or 'its end'}; "
                        f"{record.description}"
                    )

            records = fuzz(numbers, seed=options.seed, runtimes=runtimes, keep=keep, report=report)
        document = document_of(
            records,
            f"python -m edgesr.benchmarks.fuzz --cases {options.cases} "
            f"--first {options.first} --seed {options.seed} --runtimes {options.runtimes}",
            options.seed,
        )
        show_table(document["table"], title=f"{len(records)} cases")
        if options.out and keep:
            write_atomically(options.out, (json.dumps(document, indent=1) + "\n").encode())
            keep.unlink(missing_ok=True)
    except EdgesrError as error:
        say(f"edgesr: {error}")
        return error.exit_code
    return 1 if document["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

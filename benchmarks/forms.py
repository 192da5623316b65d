"""Which spelling is the fastest? Measures the alternatives in `edgesr.targets.Forms` in LiteRT.

    python -m edgesr.benchmarks.forms [--out FILE] [--runs N] [--force]

A 32-channel Plain network (and one with PReLU) of random weights is written once per form and run
on one thread, 360x640 -> 1080x1920, the forms taking turns. Time is that of the processor, so that
waiting for a core does not count. The tables in `edgesr/targets` follow `results/forms.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from edgesr.benchmarks.harness import Contender, Plan, measure
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.statistics import summarize
from edgesr.export.lower import lower
from edgesr.export.tflite import fully_delegated, operator_counts, write
from edgesr.quantize import quantize
from torch import fx, nn

from edgesr.errors import EdgesrError, OutputExistsError
from edgesr.graph import trace
from edgesr.manifest import write_atomically
from edgesr.models import create
from edgesr.network import Network
from edgesr.targets import INT8_FORMS, Forms

RESULT = Path(__file__).parent / "results" / "forms.json"
HEIGHT, WIDTH = 360, 640
BASE = Forms(anchor="conv", clip="minmax", shuffle="depth_to_space", prelu="prelu")


@dataclass(frozen=True)
class Variant:
    """One spelling of one network."""

    part: str
    """The field of `Forms` that varies."""
    network: str
    precision: str
    forms: Forms

    @property
    def form(self) -> str:
        """The value of that field."""
        return str(getattr(self.forms, self.part))


def variants() -> Iterator[Variant]:
    """Everything that is measured, in the order of the table."""
    anchors: tuple[Literal["concat", "conv", "resize"], ...] = ("concat", "conv", "resize")
    for anchor in anchors:
        yield Variant("anchor", "plain", "fp32", replace(BASE, anchor=anchor))
    for clip in ("minmax", "relu_0_to_1"):
        yield Variant("clip", "plain", "fp32", replace(BASE, clip=clip))
    for prelu in ("prelu", "two_relus"):
        yield Variant("prelu", "prelu", "fp32", replace(BASE, prelu=prelu))
    for anchor in anchors:
        yield Variant("anchor", "plain", "int8", replace(INT8_FORMS, anchor=anchor))


def networks() -> dict[str, Network]:
    """The measured networks, with the same random weights every time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (3, 32, 32, 32, 32):
        layers += [nn.Conv2d(inputs, 32, 3, padding=1), nn.PReLU(32)]
        nn.init.uniform_(layers[-1].weight, 0.1, 0.4)  # type: ignore[arg-type]
    layers += [nn.Conv2d(32, 27, 3, padding=1), nn.PixelShuffle(3), nn.Hardtanh(0.0, 1.0)]
    prelu = Network(nn.Sequential(*layers), "plain-m-x3 with PReLU, no skip", 3)
    return {"plain": create("plain-m-x3"), "prelu": prelu}


def bench(*, runs: int = 15) -> dict[str, Any]:
    """Measure all forms; the document that is kept."""
    sources = networks()
    graphs = {name: trace(network) for name, network in sources.items()}
    found = list(variants())
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.tflite" for number in range(len(found))]
        for variant, path in zip(found, files, strict=True):
            _write(variant, sources[variant.network], graphs[variant.network], path)
        contenders = [
            Contender(f"{v.precision} {v.part} {v.form}", _invoker(path))
            for v, path in zip(found, files, strict=True)
        ]
        meter = LoadMeter()
        # Processor time: one thread, and other work on the machine must not decide.
        samples = measure(contenders, Plan(runs=runs, warm_up=1), clock=time.process_time_ns)
        load = meter.stop()
        rows = [
            {
                "part": variant.part,
                "form": variant.form,
                "precision": variant.precision,
                "network": sources[variant.network].name,
                "operators": operator_counts(path),
                "fully_delegated": fully_delegated(path),
                **dataclasses.asdict(summarize(times)),
                "samples": [round(t, 3) for t in times],
            }
            for variant, path, times in zip(found, files, samples, strict=True)
        ]
    return {
        "version": 1,
        "command": "python -m edgesr.benchmarks.forms",
        "runtime": "LiteRT, XNNPACK, 1 thread",
        "unit": "ms of processor time",
        "height": HEIGHT,
        "width": WIDTH,
        "machine": dataclasses.asdict(this_machine()),
        "load": dataclasses.asdict(load),
        "rows": rows,
    }


def _write(variant: Variant, network: Network, graph: fx.GraphModule, path: Path) -> None:
    lowered = lower(graph, variant.forms)
    if variant.precision == "int8":
        noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
        write(quantize(lowered, network, [noise]), network, path, HEIGHT, WIDTH, io="int8")
    else:
        write(lowered, network, path, HEIGHT, WIDTH)


def _invoker(path: Path) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    noise = np.random.default_rng(1).random(tuple(details["shape"]), np.float32)
    if details["dtype"] is np.int8:
        noise = np.rint(noise * 255 - 128)
    interpreter.set_tensor(details["index"], noise.astype(details["dtype"]))
    invoke: Callable[[], object] = interpreter.invoke
    return invoke


def table(document: dict[str, Any]) -> str:
    """The rows as text."""
    layout = "{:9} {:7} {:12} {:>8} {:>8} {:>7}  {}"
    lines = [layout.format("precision", "part", "form", "median", "best", "spread", "XNNPACK")]
    for row in document["rows"]:
        figures = (f"{row['median']:.1f}", f"{row['best']:.1f}", f"{row['spread']:.1%}")
        placement = "all" if row["fully_delegated"] else "in parts"
        lines.append(layout.format(row["precision"], row["part"], row["form"], *figures, placement))
    return "\n".join(lines) + "\n"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m edgesr.benchmarks.forms", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON to write")
    parser.add_argument("--runs", type=int, default=15, help="timed runs per form")
    parser.add_argument("--force", action="store_true", help="overwrite")
    options = parser.parse_args()
    try:
        if options.out.exists() and not options.force:
            raise OutputExistsError(f"{options.out} exists; --force overwrites it")
        document = bench(runs=options.runs)
        write_atomically(options.out, (json.dumps(document, indent=1) + "\n").encode())
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(table(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())

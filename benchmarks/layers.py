"""Where the time of an int8 network goes, layer by layer.

    python -m edgesr.benchmarks.layers plain-m-x3 [--runtime litert|openvino] [--out FILE]

XNNPACK runs a network as one operator and tells nothing, so for LiteRT the network is cut after
every layer: all pieces take turns in one run, and a layer costs what its piece takes longer than
the piece before it. A branch, such as the image's way to the sum, is counted where it joins.
Time is that of the processor, so that waiting for a core does not count. OpenVINO counts by itself;
what it reorders at the ends has rows of its own. Its clock is that on the wall: the fastest of all
runs counts, and still only on a machine that does nothing else. One thread.

`% of GEMM` is a layer's rate over that of matrix products in the same turns; `lost ms` is what it
takes beyond that: summed up, all that the network is away from the ceiling.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from edgesr.benchmarks.documents import write_document
from edgesr.benchmarks.fuzz_cases import calls_of, cut
from edgesr.benchmarks.harness import Contender, Plan, measure
from edgesr.benchmarks.machine import LoadMeter, this_machine
from edgesr.benchmarks.markdown import table
from edgesr.benchmarks.peak import SIDES, gemm
from edgesr.export import openvino, tflite
from edgesr.export.pipeline import prepare
from edgesr.export.writers import Io
from edgesr.quantize import QuantizedGraph, quantize
from torch import fx

from edgesr.data.datasets import calibration_samples
from edgesr.errors import EdgesrError
from edgesr.graph import aten, is_call, shapes
from edgesr.models.intake import load
from edgesr.runtime.ov import settings

VERSION = 1
COLUMNS = {
    "layer": "layer", "ms": "ms", "share": "% of the time", "gmac": "GMAC",
    "rate": "% of GEMM", "lost": "lost ms",
}  # fmt: skip
_FUSED = (aten.relu.default, aten.clamp.default)
"""Part of the kernel before them."""


@dataclass(frozen=True)
class Layer:
    """One step of the network as the runtime takes it."""

    name: str
    ms: float
    gmac: float


def in_litert(
    quantized: QuantizedGraph, height: int, width: int, plan: Plan, folder: Path
) -> tuple[list[Layer], float]:
    """Layers by differences of pieces, and GMAC per millisecond of matrix products."""
    work = _multiplications(quantized, height, width)
    chain = _chain(quantized)
    pieces = []
    # XNNPACK leaves the conversion between uint8 and int8 to a slow operator: it gets a row.
    ends: list[tuple[fx.Node, Io]] = [*((node, "int8") for node in chain), (chain[-1], "uint8")]
    for node, io in ends:
        path = folder / f"{node.name}-{io}.tflite"
        tflite.write(cut(quantized, node.name), quantized.network, path, height, width, io=io)
        pieces.append(Contender(node.name, _open_litert(path)))
    times, rate = _measure(pieces, plan)
    layers, before, counted = [], 0.0, set[str]()
    for node, milliseconds in zip(chain, times[:-1], strict=True):
        fresh = _ancestors(node) - counted
        counted |= fresh
        gmac = sum(work.get(name, 0.0) for name in fresh)
        layers.append(Layer(_label(node), milliseconds - before, gmac))
        before = milliseconds
    return [*layers, Layer("uint8 ends", times[-1] - before, 0.0)], rate


def in_openvino(
    quantized: QuantizedGraph, height: int, width: int, plan: Plan, folder: Path
) -> tuple[list[Layer], float]:
    """Layers as the CPU plugin counts them, and GMAC per millisecond of matrix products."""
    import openvino as runtime

    path = folder / "network.xml"
    openvino.write(quantized, quantized.network, path, (height, width), precision="int8")
    counting = settings(1) | {"PERF_COUNT": True}
    request = runtime.Core().compile_model(path, "CPU", counting).create_infer_request()
    x = np.random.default_rng(0).integers(0, 256, request.input_tensors[0].shape, np.uint8)
    counted: dict[str, list[float]] = {}

    def run() -> None:
        request.infer({0: x}, share_inputs=True)
        for node in request.get_profiling_info():
            if node.status == node.Status.EXECUTED:
                spent = node.real_time.total_seconds() * 1e3
                counted.setdefault(node.node_name, []).append(spent)

    _, rate = _measure([Contender("network", run)], plan)
    work = _multiplications(quantized, height, width)
    return [
        Layer(name, min(spent), work.get(name.split(".op")[0], 0.0))
        for name, spent in counted.items()
    ], rate


def _measure(contenders: Sequence[Contender], plan: Plan) -> tuple[list[float], float]:
    """Medians, and the better rate of two sizes of matrix products, in GMAC per millisecond."""
    products = [gemm("int8", 1, side) for side in SIDES]
    samples = measure([*contenders, *products], plan, clock=time.process_time_ns)
    medians = [median(of_one) for of_one in samples]
    rates = [
        side**3 / 1e9 / milliseconds
        for side, milliseconds in zip(SIDES, medians[len(contenders) :], strict=True)
    ]
    return medians[: len(contenders)], max(rates)


def _open_litert(path: Path) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    pixels = np.random.default_rng(0).integers(0, 256, source["shape"], np.uint8)
    interpreter.set_tensor(source["index"], pixels.view(source["dtype"]))
    return interpreter.invoke  # type: ignore[no-any-return]


def _chain(quantized: QuantizedGraph) -> list[fx.Node]:
    """From the input to the output by the longest way, without what is part of other kernels."""
    node: fx.Node | None = calls_of(quantized.graph)[-1]
    chain: list[fx.Node] = []
    while node is not None:
        chain.append(node)
        before = [n for n in node.all_input_nodes if n.op == "call_function"]
        node = max(before, key=lambda n: len(_ancestors(n)), default=None)
    chain.reverse()
    return [
        node for node, after in zip(chain, [*chain[1:], None], strict=True)
        if after is None or not is_call(after, *_FUSED)
    ]  # fmt: skip


def _ancestors(node: fx.Node) -> set[str]:
    """Names of the operators that its value needs, its own among them."""
    found, waiting = set[str](), [node]
    while waiting:
        one = waiting.pop()
        if one.op == "call_function" and one.name not in found:
            found.add(one.name)
            waiting += one.all_input_nodes
    return found


def _multiplications(quantized: QuantizedGraph, height: int, width: int) -> dict[str, float]:
    """GMAC of every convolution."""
    sizes = shapes(quantized.graph, height, width)
    return {
        name: weights.weight.numel() * math.prod(sizes[name][2:]) / 1e9
        for name, weights in quantized.weights.items()
    }


def _label(node: fx.Node) -> str:
    """The convolution or other operator that a fused activation ends."""
    while is_call(node, *_FUSED):
        node = node.all_input_nodes[0]
    return node.name


def rows_of(layers: Sequence[Layer], rate: float) -> Iterator[dict[str, Any]]:
    """The table, with all layers together at its end."""
    total = sum(layer.ms for layer in layers)
    together = Layer("together", total, sum(layer.gmac for layer in layers))
    for layer in (*layers, together):
        ideal = layer.gmac / rate
        yield {
            "layer": layer.name, "ms": f"{layer.ms:.2f}", "share": f"{100 * layer.ms / total:.1f}",
            "gmac": f"{layer.gmac:.2f}" if layer.gmac else None,
            "rate": f"{100 * ideal / layer.ms:.0f}" if layer.gmac else None,
            "lost": f"{layer.ms - ideal:.2f}",
        }  # fmt: skip


RUNTIMES = {"litert": in_litert, "openvino": in_openvino}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.layers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model", help="network, checkpoint or module:factory")
    parser.add_argument("--runtime", choices=RUNTIMES, default="litert")
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--out", type=Path, help="write the layers as JSON")
    chosen = parser.parse_args(arguments)
    meter = LoadMeter()
    try:
        height, width = chosen.height, chosen.width
        graph, network, _ = prepare(load(chosen.model))
        quantized = quantize(graph, network, calibration_samples())
        with tempfile.TemporaryDirectory() as folder:
            layers, rate = RUNTIMES[chosen.runtime](
                quantized, height, width, Plan(runs=chosen.runs), Path(folder)
            )
        if chosen.out:
            write_document(
                {
                    "version": VERSION, "command": "python -m edgesr.benchmarks.layers",
                    "model": chosen.model, "runtime": chosen.runtime, "height": height,
                    "width": width, "threads": 1, "gemm_gmac_per_s": 1e3 * rate,
                    "started": datetime.now(UTC).isoformat(timespec="seconds"),
                    "machine": dataclasses.asdict(this_machine()),
                    "load": dataclasses.asdict(meter.stop()),
                    "layers": [dataclasses.asdict(layer) for layer in layers],
                },
                chosen.out,
            )  # fmt: skip
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(table(list(rows_of(layers, rate)), COLUMNS))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""ExecuTorch with XNNPACK: convert the exchange folder, or run the file. Its own environment.

    python run_executorch.py convert FOLDER OUT.pte fp32|int8
    python run_executorch.py serve OUT.pte INPUT.npy OUTPUT.npy

int8 is PT2E with ExecuTorch's XNNPACK quantizer, per channel, as its documentation shows.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import collections
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


def convert(folder: Path, out: Path, precision: str) -> None:
    from chain import Network
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    network = Network(folder).eval()
    start = time.perf_counter()
    module = network
    if precision == "int8":
        module = quantize(network, folder)
    exported = torch.export.export(module, network.example())
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    program = lowered.to_executorch()
    out.write_bytes(program.buffer)
    seconds = time.perf_counter() - start
    graph = lowered.exported_program().graph
    calls = [str(n.target).split(".default")[0] for n in graph.nodes if n.op == "call_function"]
    left = [c for c in calls if "executorch_call_delegate" not in c and "getitem" not in c]
    from importlib.metadata import version

    print(json.dumps({
        "seconds": seconds, "operators": dict(collections.Counter(calls)),
        "left": dict(collections.Counter(left)),
        "versions": {name: version(name) for name in ("executorch", "torch", "torchao")},
    }))  # fmt: skip


def quantize(network: Any, folder: Path) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True)
    )
    exported = torch.export.export(network, network.example()).module()
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for photo in network.photos(folder):
            prepared(photo)
    return convert_pt2e(prepared)


def serve(file: Path, source: Path, output: Path) -> None:
    from chain import serve as answer
    from executorch.runtime import Runtime

    # From the path: the runtime keeps no reference to bytes it is given.
    program = Runtime.get().load_program(file)
    method = program.load_method("forward")
    x = torch.from_numpy(np.load(source))
    answer(lambda: method.execute([x])[0].numpy(), output)


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "convert":
        convert(Path(rest[0]), Path(rest[1]), rest[2])
    else:
        serve(*map(Path, rest))

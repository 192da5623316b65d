"""ncnn: layers as text (`.ncnn.param`), weights beside it (`.ncnn.bin`), written directly.

Pixels at both ends are floats, as the manifest's `value_range` says. In fp16 files the weights of
convolutions are halves; the arithmetic is then the runtime's choice.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from edgesr.export.ncnn.assembly import assemble
from edgesr.export.writers import Graph, Shape, Written
from edgesr.quantize import QuantizedGraph

from edgesr.errors import UnsupportedError
from edgesr.manifest import write_atomically
from edgesr.network import Network
from edgesr.runtime.ncnn_param import text_of

__all__ = ["write"]


def write(
    graph: Graph, network: Network, path: Path, shape: Shape, *, precision: str = "fp32"
) -> Written:
    """Write `path` (`.ncnn.param`) and the weights beside it (`.ncnn.bin`); blobs `x` and `y`.

    Args:
        graph: lowered float graph.
        shape: (height, width), or None for any size.
        precision: `fp32` or `fp16`.

    Raises:
        UnsupportedError: a layer that ncnn has no equal of, or a quantized graph.
        EnvironmentLimitError: the folder cannot be written.
    """
    start = time.perf_counter()
    if isinstance(graph, QuantizedGraph):
        raise UnsupportedError(f"`{network.name}` is quantized, and ncnn files are float")
    layers, weights = assemble(graph, network, shape, half=precision == "fp16")
    # The weights first: an old .param beside new weights is noticed, the reverse is not.
    beside = path.with_suffix(".bin")
    write_atomically(beside, weights)
    write_atomically(path, text_of(layers).encode())
    operators = Counter(layer.kind for layer in layers if layer.kind != "Input")
    milliseconds = 1e3 * (time.perf_counter() - start)
    return Written((path, beside), dict(sorted(operators.items())), milliseconds)

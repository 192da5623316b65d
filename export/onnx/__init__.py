"""ONNX: float through torch's exporter, int8 as QDQ written from the quantized graph."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import onnx
from edgesr.export.writers import Graph, Shape, Written
from edgesr.quantize import QuantizedGraph

from edgesr.errors import UsageError
from edgesr.manifest import write_atomically
from edgesr.network import Network
from edgesr.targets import Shuffle

__all__ = ["OPSET", "build", "write"]

OPSET = 18
"""The exporter's own opset, so that no version converter runs. It has per-channel QDQ (13), integer
max pooling (12) and sizes by axis in Resize (18); runtimes of 2023 and later read it."""


def write(
    graph: Graph,
    network: Network,
    path: Path,
    shape: Shape,
    *,
    precision: str = "fp32",
    io: str = "uint8",
    shuffle: Shuffle = "codes",
) -> Written:
    """Write `path`; input `x`, output `y`, NCHW.

    Args:
        graph: lowered float graph for fp32 and fp16, quantized graph for int8.
        shape: (height, width), or None for any size.
        precision: `fp32`, `fp16` (float32 at both ends), `int8` or `int16x8`.
        io: element type at both ends of an int8 model: `uint8`, `int8` or `float32`.
        shuffle: how an int8 model spells its depth-to-space.
    """
    start = time.perf_counter()
    model = build(graph, network, shape, precision=precision, io=io, shuffle=shuffle)
    write_atomically(path, model.SerializeToString())
    operators = dict(sorted(Counter(node.op_type for node in model.graph.node).items()))
    return Written((path,), operators, 1e3 * (time.perf_counter() - start))


def build(
    graph: Graph,
    network: Network,
    shape: Shape,
    *,
    precision: str = "fp32",
    io: str = "uint8",
    shuffle: Shuffle = "codes",
) -> onnx.ModelProto:
    """The model, checked, not written."""
    if isinstance(graph, QuantizedGraph) != precision.startswith("int"):
        raise UsageError(f"`{precision}` does not fit a {type(graph).__name__}")
    if isinstance(graph, QuantizedGraph):
        from edgesr.export.onnx.int8 import to_qdq
        from edgesr.export.onnx.shuffles import between_quantizers

        model = to_qdq(graph, shape, io=io)
        if shuffle == "real":
            between_quantizers(model)
    else:
        from edgesr.export.onnx.float import to_float, to_half

        model = to_float(graph, network, shape)
        if precision == "fp16":
            model = to_half(model)
    onnx.checker.check_model(model, full_check=True)
    return model

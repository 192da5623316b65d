"""Write a lowered graph, or a quantized one, as a TFLite file: one walk over its nodes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.tflite import metadata
from edgesr.export.tflite.emission import Emission, nhwc, unsupported
from edgesr.export.tflite.fusion import plan
from edgesr.export.tflite.operators import EMITTERS
from edgesr.export.tflite.rows import by_rows
from edgesr.export.tflite.versions import VERSIONS
from edgesr.quantize.scheme import LOWEST, QParams, QuantizedGraph
from edgesr.quantize.wide import STEPS
from torch import fx

from edgesr.graph import input_of, output_of, shapes, tensor_nodes
from edgesr.manifest import write_atomically
from edgesr.network import Network
from edgesr.targets import Precision, Shuffle

Io = Literal["uint8", "int8", "float32"]
INPUT, OUTPUT = "x", "y"
"""Names of the image tensors, in the file and in its signature."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    operators: dict[str, int]
    """Operator name to how often it occurs."""
    milliseconds: float


def write(
    graph: fx.GraphModule | QuantizedGraph,
    network: Network,
    path: Path,
    height: int,
    width: int,
    *,
    io: Io = "uint8",
    precision: Precision = "fp32",
    shuffle: Shuffle = "codes",
) -> Written:
    """Write `path`: NHWC, static shapes, one image in, one image out.

    Args:
        graph: lowered with a TFLite target's forms; a `QuantizedGraph` makes an int8 file.
        network: what the tensors mean; described in the file's metadata.
        height, width: of the low-resolution input.
        io: element type at both ends of int8 files: pixels as uint8, codes as int8 (pixel - 128),
            or float32 in [0, value_range]. Float files always take and give float32.
        precision: `fp16` stores float constants as float16, behind DEQUANTIZE operators that
            delegates resolve when they load the file. int8 follows from the graph.
        shuffle: `rows` spells the depth-to-space of an int8 file without that operator.

    Raises:
        UnsupportedError: an operator is not in the table, or has no int8 kernel; names the layer.
        EnvironmentLimitError: the disk is full or the folder read-only.
    """
    start = time.perf_counter()
    if shuffle == "rows" and isinstance(graph, QuantizedGraph):
        graph = by_rows(graph, height, width)
    quantized = graph if isinstance(graph, QuantizedGraph) else None
    module = graph.graph if isinstance(graph, QuantizedGraph) else graph
    emission = Emission(
        module,
        shapes(module, height, width),
        plan(module, quantized),
        quantized,
        half=precision == "fp16" and quantized is None,
    )
    x = _begin(emission, io)
    for node in tensor_nodes(module):
        if node.op == "call_function" and node not in emission.indices:
            emitter = EMITTERS.get(node.target)
            if emitter is None:
                raise unsupported(node, "TFLite files of edgesr have no such operator")
            with emission.writing(node):
                emitter(emission, node)
    y = _end(emission, io)
    content = emission.builder.finish(
        {INPUT: x}, {OUTPUT: y}, metadata.describe(network), metadata.pack(network, INPUT, OUTPUT)
    )
    write_atomically(Path(path), content)
    return Written(dict(Counter(emission.builder.names)), (time.perf_counter() - start) * 1000)


def _begin(emission: Emission, io: Io) -> int:
    """The input tensor, and what brings it into the graph's own type."""
    node = input_of(emission.module)
    shape, params = emission.shape(node), emission.params(node)
    if params is None or (io == "int8" and params.bits == 8):
        emission.indices[node] = emission.temporary(INPUT, shape, params)
        return emission.indices[node]
    outer = _outer(emission, INPUT, shape, params, io)
    emission.indices[node] = emission.temporary(f"{INPUT}_codes", shape, params)
    _convert(emission, "QUANTIZE", outer, emission.indices[node], io)
    return outer


def _end(emission: Emission, io: Io) -> int:
    """The output tensor, after what brings it into the type asked for."""
    node = output_of(emission.module)
    params = emission.params(node)
    inner = emission.read(node)
    if params is not None and params.bits == 16:
        params = QParams(params.scale * STEPS, LOWEST)
        inner = emission.narrowed(node, inner, params)
    if params is None or io == "int8":
        return inner
    outer = _outer(emission, OUTPUT, emission.shape(node), params, io)
    _convert(emission, "DEQUANTIZE" if io == "float32" else "QUANTIZE", inner, outer, io)
    return outer


def _outer(emission: Emission, name: str, nchw: tuple[int, ...], params: QParams, io: Io) -> int:
    if io == "float32":
        return emission.builder.tensor(name, nhwc(nchw), np.float32)
    scale = params.scale * (STEPS if params.bits == 16 else 1)
    if io == "int8":
        return emission.builder.tensor(name, nhwc(nchw), np.int8, scale=scale, zero_point=LOWEST)
    zero_point = 0 if params.bits == 16 else params.zero_point - LOWEST
    return emission.builder.tensor(name, nhwc(nchw), np.uint8, scale=scale, zero_point=zero_point)


def _convert(emission: Emission, name: str, source: int, result: int, io: Io) -> None:
    options = schema.QuantizeOptionsT() if name == "QUANTIZE" else schema.DequantizeOptionsT()
    from_float = name == "QUANTIZE" and io == "float32"
    version = VERSIONS[name].floating if from_float else VERSIONS[name].integer
    assert version is not None
    emission.builder.operator(name, [source], [result], options, version=version)

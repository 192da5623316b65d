"""How many bytes a call moves at the least: the other axis of the roofline.

An estimate from the file's graph: every operator reads its weights and inputs and writes its
output once. Operators that runtimes fuse into the one before them (biases, activations, clips,
quantize and dequantize) move nothing of their own. Caches make it less, tiling and padding more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.errors import BadFileError
from edgesr.runtime.ncnn_param import parse, shapes, weights_of

_FUSED = {
    "QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "LeakyRelu", "PRelu", "Round", "Reshape",
    "FakeQuantize", "Convert", "Clamp", "ReLU", "PReLU", "Multiply", "Mul", "Subtract", "Sub",
    "Parameter", "Result", "MemoryData",
}  # fmt: skip
"""Of ONNX, OpenVINO and ncnn; networks multiply by constants only, which scales weights."""
_ACTIVATION = {"int8": 1, "int16x8": 2, "fp16": 4, "fp32": 4}
"""Bytes per value on a CPU, which computes fp16 files in fp32."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of an operator: how many values, and whether they are weights."""

    values: int
    constant: bool


Operator = tuple[str, list[Tensor], list[Tensor]]
"""Name, inputs, outputs."""


def bytes_moved(artifact: Path, precision: str, height: int, width: int) -> int | None:
    """Bytes one call reads and writes at this input size; None for a kind of file not known.

    Raises:
        BadFileError: the file cannot be read.
    """
    try:
        if artifact.suffix == ".tflite":
            return _tflite(artifact)
        read = _READERS.get(artifact.suffix)
        return None if read is None else _sum(read(artifact, height, width), precision)
    except Exception as error:  # three libraries, each with exceptions of its own
        raise BadFileError(f"the graph of {artifact} cannot be read: {error}") from error


def _sum(operators: Iterator[Operator], precision: str) -> int:
    activation = _ACTIVATION.get(precision, 4)
    weight = 1 if precision.startswith("int") else 4
    total = 0
    for name, inputs, outputs in operators:
        bias = name == "Add" and any(tensor.constant for tensor in inputs)
        if name in _FUSED or bias or all(tensor.constant for tensor in inputs):
            continue
        for tensor in (*inputs, *outputs):
            total += tensor.values * (weight if tensor.constant else activation)
    return total


def _tflite(artifact: Path) -> int:
    """Here every operator is executed as it stands, and every tensor has a type."""
    from ai_edge_litert import schema_py_generated as schema

    kind = schema.TensorType
    sizes = {kind.FLOAT32: 4, kind.INT32: 4, kind.INT64: 8, kind.INT16: 2, kind.FLOAT16: 2}
    graph = schema.ModelT.InitFromPackedBuf(artifact.read_bytes(), 0).subgraphs[0]

    def size(index: int) -> int:
        tensor = graph.tensors[index]
        return int(np.prod(tensor.shape, dtype=np.int64)) * sizes.get(tensor.type, 1)

    ends = (index for op in graph.operators for index in (*op.inputs, *op.outputs))
    return sum(size(index) for index in ends if index >= 0)  # -1: an input that was left out


def _onnx(artifact: Path, height: int, width: int) -> Iterator[Operator]:
    import onnx

    model = onnx.load(str(artifact))
    graph = model.graph
    for dim, side in zip(
        graph.input[0].type.tensor_type.shape.dim[2:], (height, width), strict=True
    ):
        dim.dim_value = side
    del graph.value_info[:]  # those and the output's are spelled with the input's old sizes
    graph.output[0].type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = {
        v.name: math.prod(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.output, *graph.value_info)
    }
    values |= {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if all(name in constant for name in node.input):
            constant.update(node.output)
        yield (
            node.op_type,
            [Tensor(values[name], name in constant) for name in node.input if name],
            [Tensor(values[name], False) for name in node.output],
        )


def _openvino(artifact: Path, height: int, width: int) -> Iterator[Operator]:
    import openvino

    model = openvino.Core().read_model(str(artifact))
    shape = model.input(0).get_partial_shape()
    model.reshape([1, shape[1].get_length(), height, width])
    constant: set[str] = set()
    for node in model.get_ordered_ops():
        sources = [port.get_source_output() for port in node.inputs()]
        names = [source.get_node().get_name() for source in sources]
        kind = node.get_type_name()
        if kind != "Parameter" and all(name in constant for name in names):
            constant.add(node.get_name())
        yield (
            kind,
            [
                Tensor(math.prod(source.get_shape()), name in constant)
                for source, name in zip(sources, names, strict=True)
            ],
            [Tensor(math.prod(port.get_shape()), False) for port in node.outputs()],
        )


def _ncnn(artifact: Path, height: int, width: int) -> Iterator[Operator]:
    layers = parse(artifact.read_text())
    found = shapes(layers, height, width)
    for layer in layers:
        if layer.kind not in ("Input", "Split"):  # Split hands the same memory on
            weights = [Tensor(count, True) for count in weights_of(layer, found) if count]
            inputs = [Tensor(math.prod(found[name]), False) for name in layer.inputs]
            yield layer.kind, weights + inputs, [Tensor(math.prod(found[layer.outputs[0]]), False)]


_READERS: dict[str, Callable[[Path, int, int], Iterator[Operator]]] = {
    ".onnx": _onnx,
    ".xml": _openvino,
    ".param": _ncnn,
}

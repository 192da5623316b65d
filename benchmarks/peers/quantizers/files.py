"""Quantized files of any tool: running them on pixels, and what in them is still float."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.machine import usable_cores
from edgesr.benchmarks.peers.tflite_file import Model

from edgesr.data.images import Image
from edgesr.evaluate import Upscaler
from edgesr.runtime.ort import session_options
from edgesr.runtime.ov import settings
from edgesr.runtime.pixels import Array

_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"}
_MOVES = {"DepthToSpace", "Concat", "Slice", "Split", "Transpose", "Reshape", "MaxPool", "Relu",
          "Clip", "NhwcMaxPool", "Gather", "Squeeze", "Unsqueeze", "Identity"}  # fmt: skip
"""ONNX operators that work on int8 and on floats alike, and run in the type of their input."""
_INTEGERS = {2, 3}
"""uint8 and int8 of `onnx.TensorProto`."""
_OUTSIDE = {"Parameter", "Input", "Result", "Output", "Constant", "Const", "Convert", "Reorder"}


def open_file(path: Path, value_range: float) -> Upscaler:
    """What the file makes of a uint8 HxWx3 image, in the runtime its format is for.

    Args:
        path: `.tflite` (LiteRT), `.onnx` (ONNX Runtime) or `.xml` (OpenVINO).
        value_range: of float ends.
    """
    if path.suffix == ".tflite":
        return Model(path, usable_cores(), value_range).run
    run = _onnx(path) if path.suffix == ".onnx" else _openvino(path)

    def upscale(image: Image) -> Image:
        x = image.transpose(2, 0, 1)[None].astype(np.float32) * np.float32(value_range / 255)
        y = run(np.ascontiguousarray(x))[0].transpose(1, 2, 0) * (255 / value_range)
        pixels: Image = np.clip(np.rint(y), 0, 255).astype(np.uint8)
        return pixels

    return upscale


def open_float(path: Path, image: Array) -> Callable[[], object]:
    """One inference on one thread, to be timed.

    Args:
        image: float32 HxWx3, in the file's value range.
    """
    if path.suffix == ".tflite":
        model = Model(path, 1)
        model.run((image * 255).astype(np.uint8))
        return model.invoke
    run = _onnx(path, 1) if path.suffix == ".onnx" else _openvino(path, 1)
    tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    return lambda: run(tensor)


def _onnx(path: Path, threads: int = 0) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), session_options(threads), providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def _openvino(path: Path, threads: int = 0) -> Any:
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", settings(threads))
    return lambda x: compiled(x)[0]


def float_operators(path: Path) -> dict[str, int]:
    """Operators that compute in float when the file runs, by kind; conversions are not counted."""
    found = {".tflite": _of_tflite, ".onnx": _of_onnx, ".xml": _of_openvino}[path.suffix](path)
    return dict(Counter(found).most_common())


def _of_tflite(path: Path) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        kind = kinds[codes[operator.opcodeIndex]]
        results = [graph.tensors[index].type for index in operator.outputs]
        if kind not in _CONVERSIONS and schema.TensorType.FLOAT32 in results:
            found.append(kind)
    return found


def _of_onnx(path: Path) -> list[str]:
    """Of the graph as ONNX Runtime optimizes it: that one runs."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(optimized)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(str(optimized)).graph
    integers = {x.name for x in graph.input if x.type.tensor_type.elem_type in _INTEGERS}
    found = []
    for node in graph.node:
        moved = node.op_type in _MOVES and node.input[0] in integers
        if node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear") or moved:
            integers.update(node.output)
        elif node.op_type not in _CONVERSIONS:
            found.append(node.op_type)
    return found


def _of_openvino(path: Path) -> list[str]:
    """Of the graph as the plugin compiled it, where an image passes; biases are reshaped too.

    Compiled as processors with VNNI do: on others `settings` makes floats of everything.
    """
    import openvino

    found: list[str] = []
    images: set[str] = set()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", exact)
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        kind, precision = (str(facts[key].astype(str)) for key in ("layerType", "runtimePrecision"))
        sources = {value.get_node().get_friendly_name() for value in operation.input_values()}
        if kind != "Input" and not sources & images:
            continue
        images.add(operation.get_friendly_name())
        if kind not in _OUTSIDE and precision.lower() in {"f32", "fp32", "bf16", "f16"}:
            found.append(kind)
    return found

"""OpenVINO IR (`.xml` and `.bin`), converted from the ONNX form, which keeps DepthToSpace.

int8 comes from the QDQ model, with the same scales. The CPU plugin (2026.3) merges convolution,
FakeQuantize, sum and FakeQuantize into one kernel and then leaves out the first rounding: one pixel
in four was off by one. Spelled as multiply, round, clamp, multiply the rounding stays, in the same
kernel. Measured on plain-m-x3, shipped weights, 180x320, one thread:

| operand of the sum                        | identical | largest | time (median) |
|-------------------------------------------|-----------|---------|---------------|
| FakeQuantize (as converted)               | 76.43 %   | 2       | 18.7 ms       |
| FakeQuantize, operands swapped            | 99.96 %   | 2       | 18.7 ms       |
| a - (-b) instead of a + b                 | 76.43 %   | 2       | 18.5 ms       |
| FakeQuantize; round after the sum instead | 99.96 %   | 2       | 19.9 ms       |
| multiply, round, clamp, multiply (used)   | 99.96 %   | 2       | 18.5 ms       |

Those times were taken on a busy machine. On a quieter one, 40 runs in turns: 15.5 ms as converted,
16.9 ms as used: the rounding costs 9 %. Swapping helps only where the other operand is a one-hot
convolution, whose sums are whole anyway.
The same holds for every rounding in the chain: on published RLFN the first residual block went from
74.5 % to 99.7 % of equal codes (convolution, rounding, leaky ReLU, rounding, sum, rounding).

What is left: a convolution adds its bias and rescales in float, so that values within 1e-5 of a
half may fall to the other side.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import openvino
from edgesr.export import onnx
from edgesr.export.writers import Graph, Shape, Written
from openvino import opset13 as operators

from edgesr.errors import EnvironmentLimitError, UnsupportedError
from edgesr.network import Network


def write(
    graph: Graph,
    network: Network,
    path: Path,
    shape: Shape,
    *,
    precision: str = "fp32",
    io: str = "uint8",
) -> Written:
    """Write `path` (`.xml`) and the weights beside it (`.bin`).

    Args:
        graph: lowered float graph for fp32 and fp16, quantized graph for int8.
        shape: (height, width), or None for any size.
        precision: `fp32`, `fp16` (weights; the plugin chooses the arithmetic) or `int8`.
        io: element type at both ends of an int8 model: `uint8`, `int8` or `float32`.

    Raises:
        EnvironmentLimitError: the folder cannot be written.
        UnsupportedError: 16-bit activations.
    """
    if precision == "int16x8":
        raise UnsupportedError(
            "OpenVINO reads 16-bit quantization but computes something else with it (100 of 255 "
            "pixel values off, in 2026.3); export int8 or fp16 for it, int16x8 for tflite or onnx"
        )
    start = time.perf_counter()
    wide = "fp32" if precision == "fp16" else precision
    source = onnx.build(graph, network, shape, precision=wide, io=io)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            draft.with_suffix(".onnx").write_bytes(source.SerializeToString())
            model = openvino.convert_model(draft.with_suffix(".onnx"))
            _keep_roundings(model)
            openvino.save_model(model, draft, compress_to_fp16=precision == "fp16")
            # The weights first: an old .xml beside new weights is noticed, the reverse is not.
            for suffix in (".bin", ".xml"):
                draft.with_suffix(suffix).replace(path.with_suffix(suffix))
    except OSError as error:
        raise EnvironmentLimitError(f"cannot write {path}: {error.strerror or error}") from error
    operators = Counter(op.get_type_name() for op in model.get_ordered_ops())
    for kind in ("Parameter", "Result", "Constant"):
        operators.pop(kind, None)
    milliseconds = 1e3 * (time.perf_counter() - start)
    files = (path, path.with_suffix(".bin"))
    return Written(files, dict(sorted(operators.items())), milliseconds)


def _keep_roundings(model: openvino.Model) -> None:
    """Spell every FakeQuantize between a convolution and a sum out, so that no fusion drops it."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Add":
            continue
        for operand in node.inputs():
            for port in _quantizers_after_convolution(operand):
                port.replace_source_output(_spelled_out(port.get_source_output().get_node()))
    model.validate_nodes_and_infer_types()


def _quantizers_after_convolution(port: openvino.Input) -> list[openvino.Input]:
    """Readers of FakeQuantize on the way back to a convolution; none if there is no such way."""
    found: list[openvino.Input] = []
    while True:
        source = port.get_source_output()
        kind = source.get_node().get_type_name()
        if kind in ("Convolution", "GroupConvolution"):
            return found
        if kind not in ("FakeQuantize", *_FUSED) or len(source.get_target_inputs()) > 1:
            return []
        if kind == "FakeQuantize":
            found.append(port)
        port = source.get_node().input(0)


_FUSED = ("Add", "Relu", "PRelu", "Clamp")
"""What the CPU plugin makes part of a convolution's kernel; Add is its bias."""


def _spelled_out(quantizer: openvino.Node) -> openvino.Output:
    """A FakeQuantize of 256 levels, equal ranges in and out, as four operators."""
    low, high = (_number(quantizer.input(port)) for port in (1, 2))
    scale = np.float32((high - low) / 255)
    steps = operators.multiply(quantizer.input_value(0), np.float32(1 / scale))
    whole = operators.round(steps, "half_to_even")
    clamped = operators.clamp(whole, float(np.rint(low / scale)), float(np.rint(high / scale)))
    result = operators.multiply(clamped, scale)
    result.set_friendly_name(quantizer.get_friendly_name())
    return result.output(0)


def _number(port: openvino.Input) -> float:
    constant = port.get_source_output().get_node()
    return float(constant.get_data().reshape(-1)[0])

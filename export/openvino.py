"""OpenVINO IR (`.xml` and `.bin`), converted from the ONNX form, which keeps DepthToSpace.

int8 comes from the QDQ model, with the same scales. The CPU plugin (2026.3) merges convolution,
FakeQuantize, sum and FakeQuantize into one kernel and then leaves out the first rounding: one pixel
in four was off by one. It merges the convolution that is the sum's first operand, so there are two
ways out. Measured on shipped plain-m-x3 and ncnet-x3, 360x640, one thread, in turns, fastest runs:

| operands of the sum                         | identical       | time           |
|---------------------------------------------|-----------------|----------------|
| FakeQuantize (as converted)                 | 80 and 78 %     | 1              |
| multiply, round, clamp, multiply            | 99.9 and 99.8 % | 1.08 and 1.11  |
| FakeQuantize, the image's convolution first | 99.9 and 99.8 % | 0.92 and 1.02  |

The image reaches the sum through a one-hot convolution, whose sums are whole: there is no rounding
to lose, and the other operand stays in 8 bits instead of becoming floats in memory. Where neither
operand is one-hot, the rounding is spelled out. The same holds for every rounding in the chain: on
published RLFN the first residual block went from 74.5 % to 99.7 % of equal codes (convolution,
rounding, leaky ReLU, rounding, sum, rounding).

Floats at the output of an int8 model are planar from the start (`_reorder_as_bytes`): as converted,
pixels become floats while they are channels-last, and four times the bytes are reordered (63.5 ms
for 64.9 in plain-m-x3, idle, in turns).

What is left: a convolution adds its bias and rescales in float, so that values within 1e-5 of a
half may fall to the other side.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
from edgesr.export import onnx
from edgesr.export.writers import Graph, Shape, Written
from edgesr.quantize import QuantizedGraph
from edgesr.quantize.ties import is_copy
from openvino import opset13 as operators

from edgesr.errors import EnvironmentLimitError, UnsupportedError
from edgesr.graph import aten, is_call, tensor_nodes
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
            _keep_roundings(model, _copies(graph))
            if precision == "int8" and io == "float32":
                _reorder_as_bytes(model)
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


def _copies(graph: Graph) -> set[str]:
    """Names of the convolutions that copy channels: what they sum up is a code already."""
    if not isinstance(graph, QuantizedGraph):
        return set()
    nodes = tensor_nodes(graph.graph)
    convolutions = (node for node in nodes if is_call(node, aten.conv2d.default))
    return {node.name for node in convolutions if is_copy(graph.graph, node)}


def _keep_roundings(model: openvino.Model, copies: set[str]) -> None:
    """Let no fusion of a convolution with a sum drop a rounding that counts.

    Args:
        copies: names of convolutions whose rounding changes nothing; the plugin may merge those.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Add":
            continue
        chains = [_chain_to_convolution(operand) for operand in node.inputs()]
        harmless = [chain.rounds_once and chain.convolution in copies for chain in chains]
        if any(harmless):
            if not harmless[0]:
                _swap_operands(node)
            continue
        for chain in chains:
            for port in chain.quantizers:
                port.replace_source_output(_spelled_out(port.get_source_output().get_node()))
    model.validate_nodes_and_infer_types()


def _reorder_as_bytes(model: openvino.Model) -> None:
    """Let the output be planar before it becomes floats.

    Only a planar tensor can be given another rank, and images are not negative: the ReLU, without
    which the two reshapes would vanish, changes nothing.
    """
    (result,) = model.get_results()
    image = result.input_value(0)
    names = image.get_names()
    if image.get_partial_shape()[1] == 1:
        return  # channels-last and planar are the same
    shape = operators.shape_of(image)
    flat = operators.reshape(image, np.array([0, 0, -1]), special_zero=True)
    whole = operators.reshape(operators.relu(flat), shape, special_zero=False)
    image.set_names(set())
    whole.output(0).set_names(names)
    whole.set_friendly_name(image.get_node().get_friendly_name())
    image.get_node().set_friendly_name(f"{whole.get_friendly_name()}.channels_last")
    result.input(0).replace_source_output(whole.output(0))
    model.validate_nodes_and_infer_types()


def _swap_operands(node: openvino.Node) -> None:
    first, second = node.input_values()
    node.input(0).replace_source_output(second)
    node.input(1).replace_source_output(first)


@dataclass(frozen=True)
class _Chain:
    """The way from an operand back to a convolution whose kernel the plugin may merge it into."""

    convolution: str = ""
    """Its name in the graph; empty if there is no such way."""
    quantizers: tuple[openvino.Input, ...] = ()
    """Readers of FakeQuantize on that way."""

    @property
    def rounds_once(self) -> bool:
        """Whether nothing is rounded but what the convolution sums up."""
        return len(self.quantizers) == 1


def _chain_to_convolution(port: openvino.Input) -> _Chain:
    found: list[openvino.Input] = []
    while True:
        source = port.get_source_output()
        node = source.get_node()
        kind = node.get_type_name()
        if kind in ("Convolution", "GroupConvolution"):
            return _Chain(node.get_friendly_name().split(".op")[0], tuple(found))
        if kind not in ("FakeQuantize", *_FUSED) or len(source.get_target_inputs()) > 1:
            return _Chain()
        if kind == "FakeQuantize":
            found.append(port)
        port = node.input(0)


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

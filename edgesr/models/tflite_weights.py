"""Read the weights of a TFLite file back into one of our networks.

Several mobile networks were only ever published as TFLite. Their files are a chain of
convolutions with an anchor and a depth-to-space, so their kernels, in order of execution, are the
tensors of our module in order of definition. int8 kernels are dequantized (scale x integer), so
the network that comes back is the float one behind the file, without its activation rounding.

Two conventions differ and are undone here:
    - depth-to-space numbers channels (row, column, colour), pixel shuffle (colour, row, column);
    - such files take 0..255; a network that takes 0..1 is the same one with its biases divided by
      255, since convolution, ReLU and sums are homogeneous.

Equal shapes do not prove an equal graph, so both are run on one image before anything is returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgesr.errors import BadFileError, CheckpointError, UnsupportedError
from edgesr.models.recognise import expected_shapes
from edgesr.models.registry import Entry, create, entries
from edgesr.network import Network
from edgesr.scales import Scale

_KNOWN_OPS = frozenset(
    {"QUANTIZE", "DEQUANTIZE", "CONV_2D", "CONCATENATION", "ADD", "DEPTH_TO_SPACE", "MINIMUM",
     "MAXIMUM", "RELU"}
)  # fmt: skip
_DTYPES: dict[int, type[np.generic]] = {0: np.float32, 2: np.int32, 9: np.int8}
_TOLERATED = {False: 0.02, True: 6.0}
"""Mean difference from the file's own output in grey levels, float and int8 files. Another graph
is off by tens; the roundings of ten int8 layers by about one."""


@dataclass(frozen=True)
class Kernels:
    """The convolutions of a file in order of execution."""

    tensors: tuple[Tensor, ...]
    """weight, bias, weight, bias, ...; weights are OIHW, the last pair in pixel-shuffle order."""
    scale: int
    quantized: bool


def load_tflite(path: Path, *, entry: Entry | None = None, scale: Scale | None = None) -> Network:
    """Build the registered network that a TFLite file computes.

    Raises:
        BadFileError: damaged file.
        UnsupportedError: operators beyond a plain convolutional chain.
        CheckpointError: no registered network has these kernels, or it computes something else.
    """
    kernels = read_kernels(path)
    shapes = [tuple(tensor.shape) for tensor in kernels.tensors]
    names = [
        f"{each.name}-x{kernels.scale}"
        for each in (entries().values() if entry is None else [entry])
        if scale in (None, kernels.scale)
        and kernels.scale in each.scales
        and list(expected_shapes(each, kernels.scale).values()) == shapes
    ]
    widths = ", ".join(str(shape[0]) for shape in shapes[::2])
    for name in names:
        network = _filled(name, kernels)
        if _difference(network, path) <= _TOLERATED[kernels.quantized]:
            how = "dequantized " if kernels.quantized else ""
            note = f"{how}kernels of {path.name}, compared with its output"
            return replace(network, licence="unknown", notes=(note,))
    tried = f"{', '.join(names)} compute something else" if names else "none has these widths"
    raise CheckpointError(
        f"`{path}` holds a x{kernels.scale} chain of convolutions ({widths}); of the networks "
        f"{'asked for' if entry else 'that edgesr knows'} {tried}"
    )


def _filled(name: str, kernels: Kernels) -> Network:
    network = create(name)
    module = network.module.eval().requires_grad_(False)
    biases = network.value_range / 255.0
    state = {
        key: tensor if tensor.ndim == 4 else tensor * biases
        for key, tensor in zip(module.state_dict(), kernels.tensors, strict=True)
    }
    module.load_state_dict(state)
    return network


def read_kernels(path: Path) -> Kernels:
    """Read the convolutions of a file; an anchor spelled as one-hot convolution is left out.

    Raises:
        BadFileError, UnsupportedError: as for `load_tflite`.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        graph = model.subgraphs[0]
        return _kernels(model, graph, schema, path)
    except (UnsupportedError, CheckpointError):
        raise
    except Exception as error:  # damaged offsets can raise anything
        raise BadFileError(f"`{path}` is a damaged or truncated TFLite file") from error


def _kernels(model: Any, graph: Any, schema: Any, path: Path) -> Kernels:
    op_names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    tensors: list[Tensor] = []
    block, quantized = 0, False
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        op = op_names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if op not in _KNOWN_OPS:
            raise UnsupportedError(
                f"`{path}` has the operator {op}; only chains of convolutions with an anchor and "
                "a depth-to-space are read back. Run the file itself with `edgesr eval`"
            )
        if op == "DEPTH_TO_SPACE":
            block = operator.builtinOptions.blockSize
        if op == "CONV_2D":
            _, weight_index, bias_index = operator.inputs
            quantized |= graph.tensors[weight_index].type == schema.TensorType.INT8
            weight = torch.from_numpy(_constant(model, graph.tensors[weight_index]))
            weight = weight.permute(0, 3, 1, 2).contiguous()  # OHWI to OIHW
            if not _is_anchor(weight):
                tensors += [weight, torch.from_numpy(_constant(model, graph.tensors[bias_index]))]
    if block < 2 or not tensors:
        raise CheckpointError(f"`{path}` has no depth-to-space after convolutions to read back")
    bad = next((t for t in tensors if not bool(torch.isfinite(t).all())), None)
    if bad is not None:
        raise CheckpointError(f"`{path}` has NaN or infinite weights")
    tensors[-2:] = [_shuffle_order(tensor, block) for tensor in tensors[-2:]]
    return Kernels(tuple(tensors), block, quantized)


def _constant(model: Any, tensor: Any) -> npt.NDArray[np.float32]:
    """Values of a constant tensor as floats, dequantized along its quantized dimension."""
    data = bytes(model.buffers[tensor.buffer].data)
    values = np.frombuffer(data, _DTYPES[tensor.type]).reshape(tensor.shape).astype(np.float64)
    quantization = tensor.quantization
    if quantization is not None and quantization.scale is not None and len(quantization.scale):
        shape = [1] * values.ndim
        shape[quantization.quantizedDimension] = -1
        scale = quantization.scale.astype(np.float64).reshape(shape)
        values = (values - quantization.zeroPoint.reshape(shape)) * scale
    return values.astype(np.float32)


def _is_anchor(weight: Tensor) -> bool:
    """Whether a 1x1 convolution only copies the three colours (NCNet's nearest convolution)."""
    if weight.shape[1:] != (3, 1, 1) or weight.shape[0] % 3:
        return False
    copies = torch.eye(3).repeat(weight.shape[0] // 3, 1)
    # A quantized 1.0 is 127 steps of 1/127, rounded to float32.
    return torch.allclose(weight[:, :, 0, 0], copies, atol=1e-3)


def _shuffle_order(tensor: Tensor, block: int) -> Tensor:
    """Channels from depth-to-space's order (row, column, colour) to pixel shuffle's."""
    colours = tensor.shape[0] // block**2
    split = tensor.reshape(block**2, colours, *tensor.shape[1:])
    return split.transpose(0, 1).reshape(tensor.shape)


def _test_image(side: int = 32) -> npt.NDArray[np.uint8]:
    """A smooth picture with an edge: 1 x side x side x 3, in 0..255."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    smooth = np.stack([rows, columns, (rows + columns) / 2], axis=-1) * 200 + 20
    smooth[:, side // 2 :] = smooth[:, side // 2 :, ::-1] * 0.6
    return smooth[None].round().astype(np.uint8)


def _difference(network: Network, path: Path) -> float:
    """Mean difference of network and file on the test image, in grey levels of 0..255."""
    image = _test_image()
    theirs = run_tflite(path, image)
    x = torch.from_numpy(image.astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        y = network.module(x / 255.0 * network.value_range) / network.value_range * 255.0
    ours = y.permute(0, 2, 3, 1).numpy()
    return float(np.abs(ours - theirs).mean())


def run_tflite(path: Path, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run a file on a 1 x H x W x 3 image, resizing its input; output in 0..255, not rounded."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    (entrance,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(entrance["index"], image.shape)
    interpreter.allocate_tensors()
    zero_shift = -128 if entrance["dtype"] == np.int8 else 0
    interpreter.set_tensor(
        entrance["index"], (image.astype(np.int16) + zero_shift).astype(entrance["dtype"])
    )
    interpreter.invoke()
    (way_out,) = interpreter.get_output_details()
    result = interpreter.get_tensor(way_out["index"]).astype(np.float32)
    shift: npt.NDArray[np.float32] = result - (zero_shift if way_out["dtype"] == np.int8 else 0)
    return shift

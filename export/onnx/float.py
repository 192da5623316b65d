"""Float ONNX: torch's exporter, then onnxsim."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, MutableSequence
from typing import Any

import numpy as np
import onnx
import onnxsim
import torch
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from edgesr.export.onnx import OPSET
from edgesr.export.writers import Shape
from onnx import TensorProto, helper, numpy_helper
from onnxscript import opset18
from torch import fx

from edgesr.errors import UnsupportedError
from edgesr.graph import LARGEST_SIDE, channels_of_input
from edgesr.models.enlarge import rectangle_to_space
from edgesr.network import Network

EXAMPLE = (64, 96)
"""Size at which a network for any size is traced; its sides differ so that none is taken for the
other."""

LARGEST_HALF = 65504.0


def _rectangle_to_space(x: Any, rows: int, columns: int) -> Any:
    """DepthToSpace has square blocks."""
    colours = x.shape[1] // (rows * columns)
    sides = opset18.Shape(x, start=2)
    blocks = opset18.Constant(value_ints=[rows, columns, colours])
    split = opset18.Reshape(x, opset18.Concat(blocks, sides, axis=0))
    pixels = opset18.Transpose(split, perm=[2, 3, 0, 4, 1])
    larger = opset18.Mul(sides, opset18.Constant(value_ints=[rows, columns]))
    whole = opset18.Constant(value_ints=[1, colours])
    return opset18.Reshape(pixels, opset18.Concat(whole, larger, axis=0))


_TRANSLATIONS: dict[Any, Any] = {
    rectangle_to_space: _rectangle_to_space,
    depth_to_space: lambda x, block: opset18.DepthToSpace(x, blocksize=block, mode="DCR"),
    space_to_depth: lambda x, block: opset18.SpaceToDepth(x, blocksize=block),
}


def to_float(graph: fx.GraphModule, network: Network, shape: Shape) -> onnx.ModelProto:
    """The graph as an fp32 model with input `x` and output `y`.

    Raises:
        UnsupportedError: torch's exporter cannot express the graph. The message carries its reason.
    """
    multiple = network.pad_multiple
    height, width = shape or (multiple * side for side in EXAMPLE)
    example = torch.zeros(1, channels_of_input(graph), height, width)
    dynamic = None
    if shape is None:
        sides = {
            axis: multiple * torch.export.Dim(name, min=8, max=LARGEST_SIDE // multiple)
            if multiple > 1
            else torch.export.Dim(name, min=8, max=LARGEST_SIDE)
            for axis, name in ((2, "height"), (3, "width"))
        }
        dynamic = (sides,)
    try:
        with quiet():
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=dynamic,
                input_names=["x"],
                output_names=["y"],
                custom_translation_table=_TRANSLATIONS,
                external_data=False,
            )
            assert program is not None
            model, _ = onnxsim.simplify(program.model_proto)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UnsupportedError(f"`{network.name}` has no ONNX form: {reason}") from error
    model.producer_name = "edgesr"
    return model


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in fp16; input and output stay float32."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    # Resize takes its factors in float32 whatever it resizes.
    wide = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in wide:
            values = numpy_helper.to_array(tensor).clip(-LARGEST_HALF, LARGEST_HALF)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    for node in graph.node:
        _rename(node.input, "x", "x_half")
        _rename(node.output, "y", "y_half")
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_half"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["y_half"], ["y"], to=TensorProto.FLOAT))
    del graph.value_info[:]
    return onnx.shape_inference.infer_shapes(half, strict_mode=True)


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for i, name in enumerate(names):
        if name == old:
            names[i] = new


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter reports its progress on stdout and through loggers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)

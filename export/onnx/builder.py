"""A QDQ model, put together node by node from a quantized graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from edgesr.export.onnx import OPSET
from edgesr.export.writers import Shape
from edgesr.quantize import QParams, QuantizedGraph
from edgesr.quantize.islands import float_nodes
from edgesr.quantize.scheme import LOWEST
from edgesr.quantize.wide import STEPS
from onnx import TensorProto, helper, numpy_helper
from torch import fx

from edgesr.graph import channels_of_input, input_of, is_call, output_of, tensor_nodes

aten = torch.ops.aten

TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "float32": TensorProto.FLOAT}
IR_VERSION = 8
"""The one that came with opset 18."""
WIDE_OPSET, WIDE_IR_VERSION = 21, 10
"""The first that quantizes to int16."""
OFFSET = 128
"""uint8 code minus int8 code."""


class Builder:
    """Tensors: `n` has the codes of node n, `n.real` its floats, `n.op` floats not yet codes."""

    def __init__(self, quantized: QuantizedGraph) -> None:
        self.quantized = quantized
        self.graph = quantized.graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._floating = float_nodes(quantized)
        self._islands: set[str] = set()
        self._narrowed: dict[fx.Node, str] = {}
        self._in_island = False
        self._codes: dict[fx.Node, str] = {}
        self._real: dict[fx.Node, str] = {}

    def model(self, operators: Mapping[Any, Emit], shape: Shape, io: str) -> onnx.ModelProto:
        """The whole model, by one function per kind of operator."""
        self._input(io)
        for node in tensor_nodes(self.graph):
            if node.op == "call_function" and not self._is_made(node):
                self._in_island = self.is_float(node)
                operators[node.target](self, node)
        self._in_island = False
        self._output(io)
        sides: list[int | str] = list(shape) if shape else ["height", "width"]
        channels = channels_of_input(self.graph)
        x = helper.make_tensor_value_info("x", TYPES[io], [1, channels, *sides])
        y = helper.make_tensor_value_info("y", TYPES[io], [1, None, None, None])
        graph = helper.make_graph(self.nodes, "edgesr", [x], [y], list(self.constants.values()))
        wide = self.quantized.precision == "int16x8"
        opsets = [helper.make_opsetid("", WIDE_OPSET if wide else OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="edgesr")
        model.ir_version = WIDE_IR_VERSION if wide else IR_VERSION
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)

    def _is_made(self, node: fx.Node) -> bool:
        return node in self._codes or node in self._real

    # --- pieces the operators are made of ---

    def is_float(self, node: fx.Node) -> bool:
        """Whether this operator is part of a float island."""
        return node.name in self._floating

    def emit(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append one ONNX node; returns its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """An initializer, shared by all who ask for this name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def params(self, node: fx.Node) -> QParams:
        """Quantization of a tensor."""
        return self.quantized.activations[node.name]

    def codes(self, node: Any) -> str:
        """Name of the uint8 tensor."""
        return self._codes[node]

    def set_codes(self, node: fx.Node, name: str) -> None:
        """Tell under which name the codes of a tensor are."""
        self._codes[node] = name

    def real(self, node: Any) -> str:
        """Name of the float tensor: of an island, or dequantized, once."""
        if self._in_island and node in self._codes:
            return self._real_in_island(node)
        if node not in self._real:
            inputs = [self.codes(node), *self._grid(node)]
            self._real[node] = self.emit("DequantizeLinear", inputs, f"{node.name}.real")
        return self._real[node]

    def _real_in_island(self, node: fx.Node) -> str:
        """Dequantized, in plain arithmetic.

        ONNX Runtime takes a float convolution between DequantizeLinear and QuantizeLinear for one
        whose weights were forgotten, and quantizes them itself, per tensor (WeightBiasQuantization;
        39 codes off on plain-m-x3).
        """
        name = f"{node.name}.island"
        if name not in self._islands:
            zero = np.float32(self.params(node).zero_point + OFFSET)
            codes = self.emit("Cast", [self.codes(node)], f"{name}.codes", to=TensorProto.FLOAT)
            centred = [codes, self.constant(f"{name}.zero", zero)]
            inputs = [self.emit("Sub", centred, f"{name}.centred"), self._grid(node)[0]]
            self._islands.add(self.emit("Mul", inputs, name))
        return name

    def quantize(self, node: fx.Node, name: str) -> None:
        """Quantize the float tensor `name`, which is the value of `node`, unless it stays float."""
        if node.name not in self.quantized.activations:
            self._real[node] = name
            return
        self.emit("QuantizeLinear", [name, *self._grid(node)], node.name)
        self.set_codes(node, node.name)

    def moved(self, reader: fx.Node, node: Any) -> str:
        """What an operator that moves values reads: codes, or floats in an island.

        On 16-bit codes runtimes have few operators, on floats all; moving exact multiples of a
        scale and quantizing them again gives the same codes.
        """
        if self.is_float(reader) or self._is_wide(reader):
            return self.real(node)
        if self._is_wide(node):
            if node not in self._narrowed:
                name = f"{node.name}.narrow"
                inputs = [self.real(node), *self._grid(reader)]
                self._narrowed[node] = self.emit("QuantizeLinear", inputs, name)
            return self._narrowed[node]
        return self.codes(node)

    def _is_wide(self, node: fx.Node) -> bool:
        params = self.quantized.activations.get(node.name)
        return params is not None and params.bits == 16

    def set_moved(self, node: fx.Node, kind: str, inputs: list[str], **attributes: Any) -> None:
        """Append an operator that moves values."""
        if self.is_float(node) or self._is_wide(node):
            self.quantize(node, self.emit(kind, inputs, f"{node.name}.op", **attributes))
        else:
            self.set_codes(node, self.emit(kind, inputs, node.name, **attributes))

    def any_of(self, node: Any) -> str:
        """Name of a tensor whose shape is asked for."""
        return self._codes[node] if node in self._codes else self._real[node]

    def finish(self, node: fx.Node, name: str) -> None:
        """Quantize an operator's float result, after the ReLU that follows it alone."""
        users = list(node.users)
        relu = len(users) == 1 and is_call(users[0], aten.relu.default)
        if relu and self.is_float(node) == self.is_float(users[0]):
            node, name = users[0], self.emit("Relu", [name], f"{users[0].name}.op")
        self.quantize(node, name)

    def _grid(self, node: fx.Node, signed: bool = False) -> list[str]:
        params = self.params(node)
        scale = self.constant(f"{node.name}.scale", np.float32(params.scale))
        if signed:
            return [scale, self.constant(f"{node.name}.zero_int8", np.int8(params.zero_point))]
        if params.bits == 16:
            return [scale, self.constant(f"{node.name}.zero_point", np.int16(params.zero_point))]
        zero = self.constant(f"{node.name}.zero_point", np.uint8(params.zero_point + OFFSET))
        return [scale, zero]

    def _pixels(self, node: fx.Node, io: str) -> list[str]:
        """Scale and zero point of 8-bit pixels at either end of a 16-bit graph."""
        scale = self.constant(f"{node.name}.pixel", np.float32(self.params(node).scale * STEPS))
        kind = np.int8(LOWEST) if io == "int8" else np.uint8(0)
        return [scale, self.constant(f"{node.name}.pixel_zero_{io}", kind)]

    def _input(self, io: str) -> None:
        node = input_of(self.graph)
        if self.params(node).bits == 16:
            name = "x"
            if io != "float32":
                name = self.emit("DequantizeLinear", ["x", *self._pixels(node, io)], "x.float")
            self.emit("QuantizeLinear", [name, *self._grid(node)], "x.codes")
            self.set_codes(node, "x.codes")
            return
        if io == "uint8":
            self.set_codes(node, "x")
            return
        name = "x"
        if io == "int8":
            name = self.emit("DequantizeLinear", ["x", *self._grid(node, signed=True)], "x.float")
        self.emit("QuantizeLinear", [name, *self._grid(node)], "x.codes")
        self.set_codes(node, "x.codes")

    def _output(self, io: str) -> None:
        node = output_of(self.graph)
        if self.params(node).bits == 16:
            inputs = [self.real(node), *self._pixels(node, io)]
            if io == "float32":
                self.emit("Identity", inputs[:1], "y")
            else:
                self.emit("QuantizeLinear", inputs, "y")
        elif io == "uint8":
            self.emit("Identity", [self.codes(node)], "y")
            self._skip_identity()
        elif io == "int8":
            self.emit("QuantizeLinear", [self.real(node), *self._grid(node, signed=True)], "y")
        else:
            self.emit("DequantizeLinear", [self.codes(node), *self._grid(node)], "y")

    def _skip_identity(self) -> None:
        """Let the last operator write `y` itself, where it can."""
        last, before = self.nodes[-1], self.codes(output_of(self.graph))
        readers = [n for n in self.nodes if before in n.input]
        maker = next((n for n in self.nodes if before in n.output), None)
        if maker is not None and readers == [last]:
            self.nodes.pop()
            maker.output[0] = "y"


Emit = Callable[[Builder, fx.Node], None]
"""Appends what one operator of the graph becomes, and tells the builder where its codes are."""

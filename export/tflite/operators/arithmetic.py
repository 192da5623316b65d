"""Sums, products, powers, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.lower.editor import arguments
from edgesr.export.tflite.emission import Emission, broadcast_nhwc, unsupported
from edgesr.export.tflite.operators.table import emits
from torch import fx

from edgesr.graph import aten

_UNARY: dict[Any, str] = {aten.sqrt.default: "SQRT", aten.rsqrt.default: "RSQRT"}
_EXTREME: dict[Any, str] = {aten.maximum.default: "MAXIMUM", aten.minimum.default: "MINIMUM"}
_BINARY: dict[Any, tuple[str, Any]] = {
    aten.add.Tensor: ("ADD", schema.AddOptionsT),
    aten.sub.Tensor: ("SUB", schema.SubOptionsT),
    aten.mul.Tensor: ("MUL", schema.MulOptionsT),
    aten.div.Tensor: ("DIV", schema.DivOptionsT),
}


@emits(*_BINARY)
def binary(emission: Emission, node: fx.Node) -> None:
    name, kind = _BINARY[node.target]
    options = kind()
    options.fusedActivationFunction = emission.activation(node)
    if hasattr(options, "potScaleInt16"):
        options.potScaleInt16 = False  # any 16-bit scale, not powers of two alone
    inputs = [_operand(emission, node, position) for position in range(2)]
    emission.emit(node, name, inputs, emission.output(node), options)


def _operand(emission: Emission, node: fx.Node, position: int) -> int:
    """A tensor, or a constant that broadcasts."""
    operand: Any = arguments(node)[position]
    value = emission.constant(operand)
    if value is None and isinstance(operand, fx.Node):
        return emission.read(operand)
    if emission.quantized is not None:
        raise unsupported(node, "int8 graphs have no scale for its constant operand")
    array = np.asarray(operand, np.float32) if value is None else value
    name = f"{node.name}_operand{position}"
    return emission.shared(operand, lambda: emission.weights(name, broadcast_nhwc(array)))


@emits(*_EXTREME)
def extreme(emission: Emission, node: fx.Node) -> None:
    name = _EXTREME[node.target]
    inputs = [_operand(emission, node, position) for position in range(2)]
    emission.emit(node, name, inputs, emission.output(node), schema.MaximumMinimumOptionsT())


@emits(aten.pow.Tensor_Scalar)
def power(emission: Emission, node: fx.Node) -> None:
    exponent = arguments(node)[1]
    x = emission.read(arguments(node)[0])
    if exponent == 2 and emission.quantized is not None:
        emission.emit(node, "MUL", [x, x], emission.output(node), schema.MulOptionsT())
    elif exponent == 2:
        emission.emit(node, "SQUARE", [x], emission.output(node), schema.SquareOptionsT())
    elif exponent in (0.5, -0.5):
        name = "SQRT" if exponent == 0.5 else "RSQRT"
        emission.emit(node, name, [x], emission.output(node))
    else:
        value = emission.weights(f"{node.name}_exponent", np.asarray(exponent, np.float32))
        emission.emit(node, "POW", [x, value], emission.output(node), schema.PowOptionsT())


@emits(*_UNARY)
def root(emission: Emission, node: fx.Node) -> None:
    emission.emit(
        node, _UNARY[node.target], [emission.read(arguments(node)[0])], emission.output(node)
    )

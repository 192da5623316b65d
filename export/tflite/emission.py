"""The state of one writing pass: which tensor of the file holds which node's value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.tflite.builder import Array, ModelBuilder
from edgesr.export.tflite.fusion import NONE, Fusion
from edgesr.export.tflite.versions import VERSIONS, WIDE
from edgesr.quantize.islands import float_nodes
from edgesr.quantize.scheme import QParams, QuantizedGraph
from torch import Tensor, fx

from edgesr.errors import UnsupportedError
from edgesr.graph import constant_of, layer_of

Shape = tuple[int, ...]


@dataclass
class Emission:
    """Handed to every emitter."""

    module: fx.GraphModule
    shapes: dict[str, Shape]
    """NCHW, by node name."""
    fusion: Fusion
    scales: QuantizedGraph | None = None
    """The graph's integers; None in float files."""
    half: bool = False
    """Store float constants as float16 and widen them on load."""
    builder: ModelBuilder = field(default_factory=ModelBuilder)
    indices: dict[fx.Node, int] = field(default_factory=dict)
    """Node to the tensor that holds its value."""
    deferred: dict[fx.Node, Callable[[], None]] = field(default_factory=dict)
    """Written only if someone reads them: pads that a convolution may do itself."""
    quantized: QuantizedGraph | None = field(init=False)
    """`scales` while an integer operator is written; None while a float one is, which in an int8
    file is part of an island: what it reads is dequantized, what integers read of it quantized."""
    _floating: frozenset[str] = field(init=False)
    _narrow: QParams | None = field(init=False, default=None)
    """Quantization of the operator that is written, if that has 8 bits: 16-bit codes that it reads
    are brought to it."""
    _narrowed: dict[int, int] = field(default_factory=dict)
    _reals: dict[int, int] = field(default_factory=dict)
    """Tensor of codes to the tensor of its floats."""
    _constants: dict[fx.Node, int] = field(default_factory=dict)
    _awaiting: dict[int, int] = field(default_factory=dict)
    """Float tensor, not written yet, to the tensor of codes it is then quantized to."""

    def __post_init__(self) -> None:
        self.quantized = self.scales
        self._floating = frozenset() if self.scales is None else float_nodes(self.scales)

    @contextmanager
    def writing(self, node: fx.Node) -> Iterator[None]:
        """In the arithmetic of this operator."""
        before = self.quantized, self._narrow
        self.quantized = None if node.name in self._floating else self.scales
        scale = self._scale(node) if self.quantized is not None else None
        self._narrow = scale if scale is not None and scale.bits == 8 else None
        try:
            yield
        finally:
            self.quantized, self._narrow = before

    # --- reading ---------------------------------------------------------------------------

    def read(self, node: Any) -> int:
        """The tensor of a node that was emitted."""
        assert isinstance(node, fx.Node)
        if node not in self.indices and node in self.deferred:
            with self.writing(node):
                self.deferred.pop(node)()
        index = self.indices[node]
        if self.quantized is None and self._scale(node) is not None:
            return self._dequantized(node, index)
        scale = self._scale(node)
        if self._narrow is not None and scale is not None and scale.bits == 16:
            return self.narrowed(node, index, self._narrow)
        return index

    def shape(self, node: Any) -> Shape:
        """Shape of a node's value, NCHW."""
        return self.shapes[node.name]

    def constant(self, node: Any) -> Array | None:
        """The values behind a constant's node; None for anything else."""
        value = constant_of(self.module, node)
        return None if value is None else to_numpy(value)

    def params(self, node: fx.Node) -> QParams | None:
        """Quantization of a node's value as the operator that is written sees it; else None."""
        if self.quantized is None:
            return None
        params = self.quantized.activations[node.name]
        return self._narrow if params.bits == 16 and self._narrow is not None else params

    def narrowed(self, node: fx.Node, codes: int, params: QParams) -> int:
        """16-bit codes on the scale of 8-bit ones; made once."""
        if codes not in self._narrowed:
            result = self.temporary(f"{node.name}_narrowed", self.shape(node), params)
            options, version = schema.QuantizeOptionsT(), WIDE["QUANTIZE"]
            self.builder.operator("QUANTIZE", [codes], [result], options, version=version)
            self._narrowed[codes] = result
        return self._narrowed[codes]

    def _scale(self, node: fx.Node) -> QParams | None:
        return None if self.scales is None else self.scales.activations.get(node.name)

    def _dequantized(self, node: fx.Node, codes: int) -> int:
        if codes not in self._reals:
            real = self.temporary(f"{node.name}_dequantized", self.shape(node), None)
            options, version = schema.DequantizeOptionsT(), VERSIONS["DEQUANTIZE"].integer
            assert version is not None
            self.builder.operator("DEQUANTIZE", [codes], [real], options, version=version)
            self._reals[codes] = real
        return self._reals[codes]

    # --- writing ---------------------------------------------------------------------------

    def activation(self, node: fx.Node) -> int:
        """The activation fused into this operator."""
        return self.fusion.activations.get(node, NONE)

    def output(self, node: fx.Node) -> int:
        """A tensor for the value this operator leaves: the node's own, or of the clip it fuses."""
        final = self.fusion.results.get(node, node)
        scale = self._scale(final)
        index = self.temporary(final.name, self.shape(final), scale)
        self.indices[final] = index
        if self.quantized is not None or scale is None:
            return index
        real = self.temporary(f"{final.name}_float", self.shape(final), None)
        self._awaiting[real] = index
        return real

    def temporary(self, name: str, nchw: Shape, params: QParams | None) -> int:
        """A tensor for an image that the graph has no node for."""
        if params is None:
            return self.builder.tensor(name, nhwc(nchw), np.float32)
        return self.builder.tensor(
            name, nhwc(nchw), type_of(params), scale=params.scale, zero_point=params.zero_point
        )

    def weights(self, name: str, values: Array) -> int:
        """A float constant; in fp16 files a float16 constant and its DEQUANTIZE."""
        if not self.half or values.size == 1:
            return self.builder.tensor(name, values.shape, np.float32, data=values)
        half = self.builder.tensor(f"{name}_half", values.shape, np.float16, data=values)
        index = self.builder.tensor(name, values.shape, np.float32)
        version = VERSIONS["DEQUANTIZE"].floating
        self.builder.operator("DEQUANTIZE", [half], [index], version=version)
        return index

    def shared(self, constant: Any, make: Callable[[], int]) -> int:
        """The tensor of a constant that several operators read: made once, tables are large."""
        if not isinstance(constant, fx.Node):
            return make()
        if constant not in self._constants:
            self._constants[constant] = make()
        return self._constants[constant]

    def codes(self, name: str, values: Array, params: QParams) -> int:
        """An integer constant, given as codes."""
        return self.builder.tensor(
            name, values.shape, type_of(params), data=values,
            scale=params.scale, zero_point=params.zero_point,
        )  # fmt: skip

    def integers(self, name: str, values: Any) -> int:
        """An int32 constant: sizes, axes, bounds."""
        array = np.asarray(values, np.int32)
        return self.builder.tensor(name, array.shape, np.int32, data=array)

    def emit(
        self,
        node: fx.Node,
        name: str,
        inputs: list[int],
        output: int,
        options: Any = None,
        *,
        version: int | None = None,
    ) -> None:
        """Append the operator `name`, written for `node`.

        Raises:
            UnsupportedError: the operator has no int8 kernel and the graph is int8.
        """
        versions = VERSIONS[name]
        params = self._scale(node)
        wide = self.quantized is not None and params is not None and params.bits == 16
        if wide:
            version = WIDE.get(name)
        elif version is None:
            version = versions.floating if self.quantized is None else versions.integer
        if version is None:
            kind = "int16" if wide else "int8"
            raise unsupported(node, f"{name} has no {kind} kernel; export in fp32 or fp16")
        self.builder.operator(name, inputs, [output], options, version=version)
        if output in self._awaiting:
            codes, options = self._awaiting.pop(output), schema.QuantizeOptionsT()
            version = VERSIONS["QUANTIZE"].floating
            self.builder.operator("QUANTIZE", [output], [codes], options, version=version)


def unsupported(node: fx.Node, reason: str) -> UnsupportedError:
    """The error for a layer TFLite cannot express as it stands."""
    return UnsupportedError(f"layer `{layer_of(node)}` ({node.name}, {node.target}): {reason}")


def type_of(params: QParams) -> type[np.int8] | type[np.int16]:
    """Element type of codes."""
    return np.int8 if params.bits == 8 else np.int16


def nhwc(nchw: Shape) -> Shape:
    """The same shape, channels last."""
    n, c, h, w = nchw
    return n, h, w, c


def to_numpy(value: Tensor) -> Array:
    """float32 for any float tensor, integers as they are."""
    array: Array = value.detach().cpu().float().numpy()
    return array


def broadcast_nhwc(values: Array) -> Array:
    """A constant that broadcasts against NCHW maps, for NHWC maps; scalars stay scalars."""
    if values.ndim == 0 or values.size == 1:
        return values.reshape(())
    full = values.reshape((1,) * (4 - values.ndim) + values.shape)
    return np.ascontiguousarray(full.transpose(0, 2, 3, 1))

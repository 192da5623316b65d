"""A TFLite file in memory: tensors, buffers, operators, signature.

Uses the schema classes that ai-edge-litert ships; no TensorFlow, no converter.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.tflite.versions import minimum_runtime

Array = npt.NDArray[Any]

FILE_IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Bytes. Runtimes map the file and read weights in place; the schema asks for this much."""

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data lies at a multiple of `ALIGNMENT`; the generated class forgets that."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (overrides)
        if self.data is not None:
            content = self.data.tobytes()
            builder.StartVector(1, len(content), ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if self.data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class ModelBuilder:
    """Collects a one-subgraph model and packs it."""

    def __init__(self) -> None:
        # Buffer 0 is empty by convention: tensors that are computed point at it.
        self._buffers: list[Any] = [_AlignedBuffer()]
        self._stored: dict[bytes, int] = {}
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self.names: list[str] = []
        """Operators in order, by name."""

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        *,
        data: Array | None = None,
        scale: Array | float | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """Add a tensor and return its index.

        Args:
            shape: NHWC for images.
            data: constant contents; None for what the graph computes.
            scale: quantization, one number or one per slice along `axis`; None for floats.
        """
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = (
            name,
            [int(n) for n in shape],
            _TYPES[np.dtype(dtype)],
        )
        tensor.buffer = 0 if data is None else self.buffer(np.ascontiguousarray(data, dtype))
        if scale is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.atleast_1d(np.asarray(scale, np.float32))
            quantization.zeroPoint = np.full(quantization.scale.shape, zero_point, np.int64)
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def buffer(self, data: Array) -> int:
        """Index of the buffer with these bytes: what several layers read is stored once."""
        content = data.tobytes()
        if content not in self._stored:
            buffer = _AlignedBuffer()
            buffer.data = data
            self._stored[content] = len(self._buffers)
            self._buffers.append(buffer)
        return self._stored[content]

    def operator(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        options: Any = None,
        *,
        version: int = 1,
    ) -> None:
        """Append an operator.

        Args:
            name: as in the schema's BuiltinOperator: `CONV_2D`.
            inputs, outputs: tensor indices; -1 for an optional input left out.
            options: the schema's options object of this operator.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((name, version), len(self._codes))
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._operators.append(operator)
        self.names.append(name)

    def finish(
        self, inputs: dict[str, int], outputs: dict[str, int], description: str, metadata: bytes
    ) -> bytes:
        """Pack the model.

        Args:
            inputs, outputs: tensor indices by their name in the signature `serving_default`.
            metadata: contents of the TFLITE_METADATA entry.
        """
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = list(inputs.values()), list(outputs.values())
        runtime = minimum_runtime(self._codes).encode().ljust(16, b"\0")
        model = schema.ModelT()
        model.version, model.description = 3, description
        model.operatorCodes = [_operator_code(*key) for key in self._codes]
        model.subgraphs = [subgraph]
        model.signatureDefs = [_signature(inputs, outputs)]
        model.metadata = [
            self._entry("min_runtime_version", runtime),
            self._entry("TFLITE_METADATA", metadata),
        ]
        model.buffers = self._buffers
        size = sum(b.data.nbytes + 4 * ALIGNMENT for b in self._buffers if b.data is not None)
        packer = flatbuffers.Builder(size + (1 << 16))
        packer.Finish(model.Pack(packer), file_identifier=FILE_IDENTIFIER)
        return bytes(packer.Output())

    def _entry(self, name: str, content: bytes) -> Any:
        entry = schema.MetadataT()
        entry.name = name
        entry.buffer = self.buffer(np.frombuffer(content, np.uint8))
        return entry


def _operator_code(name: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code


def _signature(inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = _named(inputs), _named(outputs)
    return signature


def _named(tensors: dict[str, int]) -> list[Any]:
    maps = []
    for name, index in tensors.items():
        tensor = schema.TensorMapT()
        tensor.name, tensor.tensorIndex = name, index
        maps.append(tensor)
    return maps

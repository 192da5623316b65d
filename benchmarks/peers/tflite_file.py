"""Any TFLite file, whoever wrote it: its operators, and a way to run it without a manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.peers.exchange import Image


def operators(path: Path) -> dict[str, int]:
    """Operator name to how often it occurs in the main graph."""
    from ai_edge_litert import schema_py_generated as schema

    names = {
        value: name
        for name, value in vars(schema.BuiltinOperator).items()
        if isinstance(value, int)
    }
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    found = Counter(names[codes[op.opcodeIndex]] for op in model.subgraphs[0].operators)
    return dict(found.most_common())


class Model:
    """A TFLite file in LiteRT, for images in [0, 1] or in raw pixels, whichever it was made for.

    Args:
        value_range: of float ends, 1 or 255.
    """

    def __init__(self, path: Path, threads: int, value_range: float = 1.0) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._value_range = value_range
        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input: dict[str, Any] = self._interpreter.get_input_details()[0]
        self._output: dict[str, Any] = self._interpreter.get_output_details()[0]

    @property
    def input_type(self) -> str:
        """Element type of the input: `uint8`, `int8`, `float32`."""
        return str(np.dtype(self._input["dtype"]))

    def run(self, image: Image) -> Image:
        """uint8 HxWx3 to uint8 sHxsWx3, through the file's own quantization of both ends.

        A file made for another size is resized: its weights and scales do not depend on it.
        """
        self._fit(image)
        unit = self._unit(self._input, self._value_range)
        pixels = image[None].astype(np.float32) * unit
        if _planar(self._input):
            pixels = pixels.transpose(0, 3, 1, 2)
        kind = self._input["dtype"]
        if kind != np.float32:
            scale, zero_point = self._input["quantization"]
            limits = np.iinfo(kind)
            pixels = np.clip(np.round(pixels / scale) + zero_point, limits.min, limits.max)
        self._interpreter.set_tensor(
            self._input["index"], np.ascontiguousarray(pixels.astype(kind))
        )
        self._interpreter.invoke()
        values = self._interpreter.get_tensor(self._output["index"])
        if values.dtype != np.float32:
            scale, zero_point = self._output["quantization"]
            values = (values.astype(np.float32) - zero_point) * scale
        if _planar(self._output):
            values = values.transpose(0, 2, 3, 1)
        result: Image = np.clip(np.round(values[0] / unit), 0, 255).astype(np.uint8)
        return result

    def _fit(self, image: Image) -> None:
        wanted = (1, 3, *image.shape[:2]) if _planar(self._input) else (1, *image.shape)
        if tuple(self._input["shape"]) != wanted:
            self._interpreter.resize_tensor_input(self._input["index"], wanted)
            self._interpreter.allocate_tensors()
            self._input = self._interpreter.get_input_details()[0]
            self._output = self._interpreter.get_output_details()[0]

    @staticmethod
    def _unit(end: dict[str, Any], value_range: float = 1.0) -> float:
        """What one grey level is worth: 1/255, or 1 where an integer file works on raw pixels."""
        scale = end["quantization"][0] if end["dtype"] != np.float32 else 0.0
        return 1.0 if scale > 0.5 else value_range / 255

    def invoke(self) -> None:
        """One inference on the image last run (or zeros): what is timed."""
        self._interpreter.invoke()


def _planar(end: dict[str, Any]) -> bool:
    """Channels first. onnx2tf's files take channels last and may put out channels first."""
    return bool(end["shape"][1] == 3)

"""Target name to the function that writes its file. The heavy packages load with their writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgesr.quantize import QuantizedGraph
from torch import fx

from edgesr.network import Network
from edgesr.targets import Precision, Shuffle

Graph = fx.GraphModule | QuantizedGraph
Shape = tuple[int, int] | None
Io = Literal["uint8", "int8", "float32"]
"""Element type at both ends of an int8 model."""


@dataclass(frozen=True)
class Written:
    """What a writer reports of its file."""

    files: tuple[Path, ...]
    operators: dict[str, int] = field(default_factory=dict)
    milliseconds: float = 0.0
    """Time the writer itself took."""


@dataclass(frozen=True)
class Form:
    """How a file is to say its graph."""

    precision: Precision
    io: Io = "uint8"
    """Read by writers of int8."""
    shuffle: Shuffle = "codes"
    """How pixels are shuffled; writers of one spelling pass over it."""


Writer = Callable[[Graph, Network, Path, Shape, Form], Written]


def _tflite(graph: Graph, network: Network, path: Path, shape: Shape, form: Form) -> Written:
    from edgesr.export.tflite import write

    assert shape is not None
    result = write(
        graph, network, path, *shape, io=form.io, precision=form.precision, shuffle=form.shuffle
    )
    return Written((path,), result.operators, result.milliseconds)


def _onnx(graph: Graph, network: Network, path: Path, shape: Shape, form: Form) -> Written:
    from edgesr.export import onnx

    result = onnx.write(
        graph, network, path, shape, precision=form.precision, io=form.io, shuffle=form.shuffle
    )
    return Written((path,), result.operators, result.milliseconds)


def _openvino(graph: Graph, network: Network, path: Path, shape: Shape, form: Form) -> Written:
    from edgesr.export import openvino

    result = openvino.write(graph, network, path, shape, precision=form.precision, io=form.io)
    return Written((path, path.with_suffix(".bin")), result.operators, result.milliseconds)


def _ncnn(graph: Graph, network: Network, path: Path, shape: Shape, form: Form) -> Written:
    from edgesr.export import ncnn

    return ncnn.write(graph, network, path, shape, precision=form.precision)


WRITERS: dict[str, Writer] = {
    "tflite": _tflite,
    "onnx": _onnx,
    "openvino": _openvino,
    "ncnn": _ncnn,
}

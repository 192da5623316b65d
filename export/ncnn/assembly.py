"""The layers of a file, put together node by node from a lowered graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy.typing as npt
from edgesr.export.writers import Shape
from torch import fx

from edgesr.errors import UnsupportedError
from edgesr.graph import (
    channels_of_input,
    constant_of,
    input_of,
    layer_of,
    output_of,
    shapes,
    tensor_nodes,
)
from edgesr.network import Network
from edgesr.runtime.ncnn_param import FLOAT16, FLOAT32, Layer, Value

Array = npt.NDArray[Any]

LARGEST_HALF = 65504.0
EXAMPLE = (64, 96)
"""Size at which channels are counted where any size will do."""


class Assembly:
    """Layers written so far, their weights, and the graph they come from.

    Attributes:
        shapes: of every node; of rows and columns only where `fixed`.
        fixed: whether the file takes images of one size.
        fused: producer to the activation that is written into it.
    """

    def __init__(
        self, graph: fx.GraphModule, network: Network, shape: Shape, *, half: bool
    ) -> None:
        multiple = network.pad_multiple
        self.module, self.fixed, self._half = graph, shape is not None, half
        height, width = shape or (multiple * side for side in EXAMPLE)
        self.shapes = shapes(graph, height, width)
        self.fused: dict[fx.Node, fx.Node] = {}
        self.layers: list[Layer] = []
        self._weights: dict[str, bytes] = {}
        """By layer; in the file they follow each other in the layers' order."""
        self._blobs: dict[fx.Node, str] = {}
        sides: dict[int, Value] = {0: width, 1: height} if self.fixed else {}
        x = input_of(graph)
        self._append("Input", "x", (), {**sides, 2: channels_of_input(graph)})
        self._blobs[x] = "x"

    def shape(self, node: Any) -> tuple[int, ...]:
        """Shape of a node's value, NCHW."""
        return self.shapes[node.name]

    def constant(self, node: Any) -> Array | None:
        """The values behind a constant's node, in float32; None for anything else."""
        value = constant_of(self.module, node)
        return None if value is None else value.detach().cpu().float().numpy()

    def read(self, node: Any) -> str:
        """The blob of a node; a constant becomes a layer that puts it out.

        Raises:
            UnsupportedError: a constant of more than one image.
        """
        assert isinstance(node, fx.Node)
        if node not in self._blobs:
            values = self.constant(node)
            assert values is not None, node
            self._blobs[node] = self.memory(node, node.name, values)
        return self._blobs[node]

    def memory(self, node: fx.Node, name: str, values: Array) -> str:
        """The blob of a constant: 1 x C x H x W, of which leading axes may be missing."""
        full = values.reshape((1,) * (4 - values.ndim) + values.shape)
        if full.shape[0] != 1:
            raise unsupported(node, "it has a constant of more than one image")
        _, c, h, w = full.shape
        self._weights[name] = full.astype("<f4").tobytes()
        return self._append("MemoryData", name, (), {0: w, 1: h, 2: c})

    def emit(
        self,
        node: fx.Node,
        kind: str,
        inputs: tuple[str, ...],
        parameters: dict[int, Value] | None = None,
        *,
        tagged: Array | None = None,
        plain: Array | None = None,
    ) -> None:
        """The layer that computes `node`, or the activation that is fused into it.

        Args:
            tagged: weights that may be halves.
            plain: those that come after them, always float32.
        """
        final = self.fused.get(node, node)
        weights = b"" if tagged is None else self._tagged(tagged)
        if plain is not None:
            weights += plain.astype("<f4").tobytes()
        if weights:
            self._weights[final.name] = weights
        self._blobs[final] = self._append(kind, final.name, inputs, parameters or {})

    def between(
        self, name: str, kind: str, inputs: tuple[str, ...], parameters: dict[int, Value]
    ) -> str:
        """A layer on the way to a node's value; its blob."""
        return self._append(kind, name, inputs, parameters)

    def finish(self) -> tuple[list[Layer], bytes]:
        """The layers with a `Split` wherever two read one blob, and the weights."""
        result = output_of(self.module)
        if self._blobs[result] == "x":  # the network is the identity
            self._append("Noop", "y", ("x",), {})
        else:
            self.layers = [_renamed(layer, self._blobs[result]) for layer in self.layers]
        weights = b"".join(self._weights.get(layer.name, b"") for layer in self.layers)
        return _split(self.layers), weights

    def _append(
        self, kind: str, name: str, inputs: tuple[str, ...], parameters: dict[int, Value]
    ) -> str:
        self.layers.append(Layer(kind, name, inputs, (name,), parameters))
        return name

    def _tagged(self, values: Array) -> bytes:
        if not self._half:
            return FLOAT32 + values.astype("<f4").tobytes()
        data = values.clip(-LARGEST_HALF, LARGEST_HALF).astype("<f2").tobytes()
        return FLOAT16 + data + b"\0" * (-len(data) % 4)


Emitter = Callable[[Assembly, fx.Node], None]
EMITTERS: dict[Any, Emitter] = {}
"""ATen operator to the function that writes it."""


def emits(*targets: Any) -> Callable[[Emitter], Emitter]:
    """Register the decorated function for these ATen operators."""

    def add(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(targets, emitter))
        return emitter

    return add


def assemble(
    graph: fx.GraphModule, network: Network, shape: Shape, *, half: bool
) -> tuple[list[Layer], bytes]:
    """Layers and weights of a file.

    Raises:
        UnsupportedError: a layer that ncnn has no equal of; the message names it.
    """
    from edgesr.export.ncnn import operators

    assembly = Assembly(graph, network, shape, half=half)
    assembly.fused = operators.fusible(graph)
    done = set(assembly.fused.values())
    for node in tensor_nodes(graph):
        if node.op == "placeholder" or node in done:
            continue
        if node.target not in EMITTERS:
            raise unsupported(node, "ncnn has no layer that computes it, or none edgesr knows")
        EMITTERS[node.target](assembly, node)
    return assembly.finish()


def unsupported(node: fx.Node, reason: str) -> UnsupportedError:
    """The error for a layer that cannot be written."""
    return UnsupportedError(
        f"layer `{layer_of(node)}` ({node.name}, {node.target}): {reason}; "
        "--target tflite or onnx may run it"
    )


def _renamed(layer: Layer, result: str) -> Layer:
    """The layer with the output's blob called `y`, and what was called so like the output."""
    names = {result: "y", "y": result}

    def new(blobs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(blob, blob) for blob in blobs)

    return replace(layer, inputs=new(layer.inputs), outputs=new(layer.outputs))


def _split(layers: list[Layer]) -> list[Layer]:
    """Every blob is read once: what two layers read is copied (in name only) by a `Split`."""
    readers: dict[str, int] = {}
    for layer in layers:
        for name in layer.inputs:
            readers[name] = readers.get(name, 0) + 1
    taken = dict.fromkeys(readers, 0)
    found: list[Layer] = []
    for layer in layers:
        inputs = []
        for name in layer.inputs:
            inputs.append(name if readers[name] == 1 else f"{name}.{taken[name]}")
            taken[name] += 1
        found.append(replace(layer, inputs=tuple(inputs)))
        for name in layer.outputs:
            copies = readers.get(name, 0)
            if copies > 1:
                names = tuple(f"{name}.{number}" for number in range(copies))
                found.append(Layer("Split", f"{name}.split", (name,), names))
    return found

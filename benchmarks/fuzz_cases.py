"""Random int8 graphs, reproducible by number: what `edgesr.benchmarks.fuzz` runs.

A case is a graph of 2 to 8 operators with skips, concatenations and strides, weights whose size
spans six orders of magnitude, scales from photos or drawn at random under the rules of
`edgesr.quantize.scales`, and a handful of images: black, white, noise, saturated, smooth.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from edgesr.benchmarks.fuzz_sketch import Sketch
from edgesr.quantize import QuantizedGraph, quantize
from edgesr.quantize.forms import spell
from edgesr.quantize.leaky import round_slopes
from edgesr.quantize.scales import choose_scales
from edgesr.quantize.weights import quantize_weights
from torch import fx

from edgesr.errors import UnsupportedError
from edgesr.graph import is_call, output_of, shapes, tensor_nodes, tidy
from edgesr.network import Network

aten = torch.ops.aten
Image = npt.NDArray[np.uint8]
Kind = Literal["network", "scales", "operator"]

ALONE = ("mul", "square", "sigmoid", "tanh", "mean", "sqrt", "bilinear")
"""Operators that agree by a choice of scales; drawn alone too, so that a difference is theirs."""
EVERY_ALONE = 5
"""One case in so many draws one of `ALONE`."""


@dataclass(frozen=True)
class Case:
    """A quantized graph and the images to run it on."""

    number: int
    kind: Kind
    """`network`: scales from images; `scales`: drawn; `operator`: one of `ALONE`."""
    quantized: QuantizedGraph
    images: list[Image]

    @property
    def operators(self) -> list[str]:
        """Names, in order, as the integer reference runs them."""
        return [name_of(node) for node in calls_of(self.quantized.graph)]

    @property
    def description(self) -> str:
        """Enough to know what was drawn: operators and the size of the images."""
        height, width, channels = self.images[0].shape
        return f"{self.kind} {height}x{width}x{channels}: {' '.join(self.operators)}"


def make(number: int, seed: int = 0) -> Case:
    """The case of this number; the same one every time."""
    for attempt in range(100):
        try:
            return _draw(number, np.random.default_rng([seed, number, attempt]))
        except UnsupportedError:  # features that would have to share the scale of pixels
            continue
    raise AssertionError(f"case {number} of seed {seed}: nothing drawn can be quantized")


def _draw(number: int, rng: np.random.Generator) -> Case:
    alone = number % EVERY_ALONE == 0
    sketch = Sketch(rng)
    if alone:
        sketch.draw_alone(ALONE[(number // EVERY_ALONE) % len(ALONE)])
    else:
        for _ in range(int(rng.integers(2, 9))):
            sketch.draw()
    graph = sketch.finish()
    _check_any_size(graph)
    network = Network(graph, f"case {number}", 1)
    images = _images(rng, sketch.height, sketch.width)
    by_photo = bool(rng.random() < 0.5)
    if by_photo:
        quantized = quantize(graph, network, images[-2:])
    else:
        quantized = _with_random_scales(rng, graph, network)
    if alone or rng.random() < 0.7:
        quantized = _without_tail(quantized)
    kind: Kind = "operator" if alone else "network" if by_photo else "scales"
    return Case(number, kind, quantized, images)


def _check_any_size(graph: fx.GraphModule) -> None:
    """Sides may agree by chance; a network's agree at every size."""
    try:
        shapes(graph, 192, 192)
    except RuntimeError as error:
        raise UnsupportedError("tensors of unequal sides meet") from error


def calls_of(graph: fx.GraphModule) -> list[fx.Node]:
    """The operators, in order."""
    return [node for node in tensor_nodes(graph) if node.op == "call_function"]


def name_of(node: fx.Node) -> str:
    """`conv2d`, `conv2d/dw`, `add` ... as the tables show it."""
    name = str(node.target).split(".")[-2]
    if is_call(node, aten.conv2d.default) and node.args[6] != 1:
        return f"{name}/groups"
    if is_call(node, aten.mul.Tensor) and node.args[0] is node.args[1]:
        return "square"
    return name


def cut(quantized: QuantizedGraph, name: str) -> QuantizedGraph:
    """The graph up to and with the node called `name`, whose codes become the output."""
    graph = deepcopy(quantized.graph)
    end = next(node for node in graph.graph.nodes if node.name == name)
    (result,) = (node for node in graph.graph.nodes if node.op == "output")
    result.args = (end,)
    return replace(quantized, graph=tidy(graph))


def _without_tail(quantized: QuantizedGraph) -> QuantizedGraph:
    """Put out what the last convolution reads: its own codes hide most differences before it."""
    end = output_of(quantized.graph).args[0]
    assert isinstance(end, fx.Node)
    return quantized if end.op == "placeholder" else cut(quantized, end.name)


# --- scales and images ----------------------------------------------------------------------


def _with_random_scales(
    rng: np.random.Generator, graph: fx.GraphModule, network: Network
) -> QuantizedGraph:
    """Ranges over six orders of magnitude, off-centre, one-sided; scales by the usual rules."""
    spelled = spell(graph)
    activations = choose_scales(spelled, network, _ranges(rng, spelled))
    round_slopes(spelled, activations)
    weights = {
        node.name: quantize_weights(spelled, node, activations)
        for node in calls_of(spelled)
        if is_call(node, aten.conv2d.default)
    }
    return QuantizedGraph(spelled, activations, weights, network)


def _ranges(rng: np.random.Generator, graph: fx.GraphModule) -> dict[str, tuple[float, float]]:
    found = {}
    common = float(rng.uniform(-3, 3))
    for node in tensor_nodes(graph):
        if node.op == "placeholder":
            found[node.name] = (0.0, 1.0)
            continue
        exponent = common if rng.random() < 0.5 else float(rng.uniform(-3, 3))
        low, high = np.sort(rng.normal(rng.choice([0, 0, 2]), 1, 2)) * 10**exponent
        if rng.random() < 0.3:
            found[node.name] = (0.0, 1.0)
        else:
            found[node.name] = (float(low), float(high))
    return found


def _images(rng: np.random.Generator, height: int, width: int) -> list[Image]:
    size = (height, width, 3)
    noise = rng.integers(0, 256, size, np.uint8)
    steps = rng.integers(0, 256, 3) + np.arange(height)[:, None, None] * 3
    smooth = (steps + np.arange(width)[None, :, None] * 5) % 256
    saturated = rng.choice(np.array([0, 255], np.uint8), size)
    return [
        np.zeros(size, np.uint8),
        np.full(size, 255, np.uint8),
        saturated,
        smooth.astype(np.uint8),
        noise,
    ]

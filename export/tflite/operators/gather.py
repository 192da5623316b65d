"""Pixels from places that are known when the file is written: GATHER with tables.

In graphs of one image size (`edgesr.export.lower.fixed_size`), as networks for any scale become
where no filter repeats soon enough. A bilinear sample is four gathers of whole pixels, each times
the table of its weights; a place outside the image has the weight zero.
"""

from __future__ import annotations

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.lower.editor import arguments
from edgesr.export.tflite.builder import Array
from edgesr.export.tflite.emission import Emission, unsupported
from edgesr.export.tflite.fusion import NONE
from edgesr.export.tflite.operators.table import emits
from torch import fx

from edgesr.graph import aten, constant_of

_NHWC_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}


@emits(aten.index_select.default)
def index_select(emission: Emission, node: fx.Node) -> None:
    x, axis, index = arguments(node)
    places = constant_of(emission.module, index)
    if places is None:
        raise unsupported(node, "which pixels it takes depends on the image")
    table = emission.integers(f"{node.name}_places", places.numpy())
    _gather(emission, node, emission.read(x), table, emission.output(node), _NHWC_AXIS[axis % 4])


@emits(aten.grid_sampler.default)
def grid_sampler(emission: Emission, node: fx.Node) -> None:
    x, grid, mode, padding, aligned = arguments(node)
    places = constant_of(emission.module, grid)
    if places is None or (mode, padding, aligned) != (0, 0, False):
        raise unsupported(node, "samples bilinearly at places that are known, with zeros outside")
    _, channels, height, width = emission.shape(x)
    flat = (height * width, channels)
    pixels = emission.builder.tensor(f"{node.name}_pixels", flat, np.float32)
    options = schema.ReshapeOptionsT()
    options.newShape = list(flat)
    inputs = [emission.read(x), emission.integers(f"{node.name}_flat", flat)]
    emission.emit(node, "RESHAPE", inputs, pixels, options)
    parts = [
        _weighted(emission, node, pixels, f"tap{tap}", *tables)
        for tap, tables in enumerate(taps(places, height, width))
    ]
    for tap in (1, 2, 3):
        options = schema.AddOptionsT()
        options.fusedActivationFunction = NONE
        result = emission.output(node) if tap == 3 else _map(emission, node, f"sum{tap}")
        emission.emit(node, "ADD", parts[tap - 1 : tap + 1], result, options)
        parts[tap] = result


def taps(grid: torch.Tensor, height: int, width: int) -> list[tuple[Array, Array]]:
    """Index into the flattened image and weight of each of the four pixels around every place.

    Args:
        grid: 1 x h x w x 2, (x, y) as torch's `grid_sample` takes them with `align_corners=False`.

    Returns:
        Pairs of 1 x h x w tables.
    """
    sides = torch.tensor([width, height], dtype=grid.dtype)
    place = ((grid + 1) * sides - 1) / 2
    first = place.floor()
    found = []
    for down in (0, 1):
        for right in (0, 1):
            pixel = first + torch.tensor([right, down])
            near = 1 - (place - pixel).abs()
            inside = ((pixel >= 0) & (pixel < sides)).all(-1)
            weight = near.prod(-1) * inside
            column, row = pixel.clamp(torch.zeros(2), sides - 1).long().unbind(-1)
            found.append(((row * width + column).int().numpy(), weight.float().numpy()))
    return found


def _weighted(
    emission: Emission, node: fx.Node, pixels: int, name: str, places: Array, weights: Array
) -> int:
    taken, weighted = (_map(emission, node, f"{name}_{kind}") for kind in ("taken", "weighted"))
    _gather(emission, node, pixels, emission.integers(f"{name}_places", places), taken, 0)
    options = schema.MulOptionsT()
    options.fusedActivationFunction = NONE
    factor = emission.weights(f"{name}_weights", weights[..., None])
    emission.emit(node, "MUL", [taken, factor], weighted, options)
    return weighted


def _map(emission: Emission, node: fx.Node, name: str) -> int:
    """A tensor of the size that `node` has."""
    return emission.temporary(f"{node.name}_{name}", emission.shape(node), None)


def _gather(
    emission: Emission, node: fx.Node, source: int, places: int, result: int, axis: int
) -> None:
    options = schema.GatherOptionsT()
    options.axis = axis
    emission.emit(node, "GATHER", [source, places], result, options)

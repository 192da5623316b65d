"""Operators that only move values: concat, slice, pad, depth to space and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgesr.export.lower.editor import arguments
from edgesr.export.lower.ops import depth_to_space, space_to_depth, stack_rows
from edgesr.export.tflite.emission import Emission, nhwc, type_of, unsupported
from edgesr.export.tflite.fusion import NONE
from edgesr.export.tflite.operators.table import emits
from torch import fx

from edgesr.graph import aten, is_call
from edgesr.models.enlarge import rectangle_to_space

_NHWC_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}
Margins = tuple[tuple[int, int], tuple[int, int]]
"""(before, after) in rows, then in columns."""


MOST_PARTS = 5
"""XNNPACK leaves a CONCATENATION of more inputs to a slower kernel outside its partition."""


@emits(aten.cat.default)
def concat(emission: Emission, node: fx.Node) -> None:
    """More than `MOST_PARTS` inputs are concatenated in groups; equal groups once."""
    options = schema.ConcatenationOptionsT()
    axis = arguments(node)[1] % 4
    options.axis = _NHWC_AXIS[axis]
    options.fusedActivationFunction = NONE
    parts = [(emission.read(x), emission.shape(x)[axis]) for x in arguments(node)[0]]
    while len(parts) > MOST_PARTS:
        size = next((n for n in range(MOST_PARTS, 1, -1) if len(parts) % n == 0), MOST_PARTS)
        groups = [tuple(parts[i : i + size]) for i in range(0, len(parts), size)]
        known: dict[tuple[tuple[int, int], ...], tuple[int, int]] = {}
        for group in groups:
            if len(group) > 1 and group not in known:
                shape = list(emission.shape(node))
                shape[axis] = sum(extent for _, extent in group)
                name = f"{node.name}_group{len(known)}"
                result = emission.temporary(name, tuple(shape), emission.params(node))
                emission.emit(node, "CONCATENATION", [x for x, _ in group], result, options)
                known[group] = (result, shape[axis])
        parts = [known.get(group, group[0]) for group in groups]
    inputs = [x for x, _ in parts]
    emission.emit(node, "CONCATENATION", inputs, emission.output(node), options)


@emits(aten.slice.Tensor)
def slice_(emission: Emission, node: fx.Node) -> None:
    x, axis, start, _, step = arguments(node)
    if not isinstance(start, int) or not isinstance(step, int):
        raise unsupported(node, "where it starts depends on the image size")
    axis = axis % 4
    extent = emission.shape(x)[axis]
    begin = [0, 0, 0, 0]
    begin[axis] = min(start + extent if start < 0 else start, extent)
    if step == 1:
        write_slice(emission, node, emission.read(x), begin)
        return
    steps = [1, 1, 1, 1]
    steps[axis] = step
    ends = [b + (n - 1) * s + 1 for b, n, s in zip(begin, emission.shape(node), steps, strict=True)]
    bounds = [
        emission.integers(f"{node.name}_{name}", nhwc(tuple(values)))
        for name, values in (("begin", begin), ("end", ends), ("step", steps))
    ]
    options = schema.StridedSliceOptionsT()
    inputs = [emission.read(x), *bounds]
    emission.emit(node, "STRIDED_SLICE", inputs, emission.output(node), options)


def write_slice(emission: Emission, node: fx.Node, x: int, begin: list[int]) -> None:
    """The part of tensor `x` that starts at `begin` (NCHW) and has the shape of `node`."""
    inputs = [
        x,
        emission.integers(f"{node.name}_begin", nhwc(tuple(begin))),
        emission.integers(f"{node.name}_size", nhwc(emission.shape(node))),
    ]
    emission.emit(node, "SLICE", inputs, emission.output(node), schema.SliceOptionsT())


@emits(aten.pad.default)
def pad(emission: Emission, node: fx.Node) -> None:
    """Zeros wait until someone reads them: a convolution with padding SAME does it by itself."""
    if zero_pad(node) is not None:
        emission.deferred[node] = lambda: _pad(emission, node)
    else:
        _pad(emission, node)


def zero_pad(node: Any) -> tuple[fx.Node, list[int]] | None:
    """Source and (left, right, top, bottom) of a pad with zeros; None for anything else."""
    if not is_call(node, aten.pad.default):
        return None
    x, sides, mode, value = arguments(node)
    zeros = mode == "constant" and value in (None, 0, 0.0)
    return (x, sides) if zeros and len(sides) == 4 and min(sides) >= 0 else None


def _pad(emission: Emission, node: fx.Node) -> None:
    x, sides, mode, value = arguments(node)
    if len(sides) != 4 or min(sides) < 0:
        raise unsupported(node, f"pads {sides}; TFLite pads rows and columns outwards")
    left, right, top, bottom = sides
    margins = emission.integers(
        f"{node.name}_margins", [[0, 0], [top, bottom], [left, right], [0, 0]]
    )
    inputs = [emission.read(x), margins]
    if mode == "reflect":
        options = schema.MirrorPadOptionsT()
        options.mode = schema.MirrorPadMode.REFLECT
        emission.emit(node, "MIRROR_PAD", inputs, emission.output(node), options)
    elif mode != "constant":
        raise unsupported(node, f"pads by `{mode}`; TFLite pads by zeros, a constant or reflection")
    elif zero_pad(node) is not None:
        emission.emit(node, "PAD", inputs, emission.output(node), schema.PadOptionsT())
    else:
        params = emission.params(node)
        if params is None:
            fill = emission.weights(f"{node.name}_value", np.asarray(value, np.float32))
        else:
            code = np.asarray(params.code_of(float(value)), type_of(params))
            fill = emission.codes(f"{node.name}_value", code, params)
        emission.emit(node, "PADV2", [*inputs, fill], emission.output(node), schema.PadV2OptionsT())


def write_pad(
    emission: Emission, node: fx.Node, x: Any, margins: Margins, *, lowest: bool = False
) -> int:
    """`x` with margins, for an operator (`node`) whose own padding TFLite cannot spell.

    Args:
        lowest: fill with the smallest value there is, for maxima; else with zeros.
    """
    (top, bottom), (left, right) = margins
    n, c, height, width = emission.shape(x)
    shape = (n, c, height + top + bottom, width + left + right)
    params = emission.params(x)
    padded = emission.temporary(f"{node.name}_padded", shape, params)
    sides = [[0, 0], [top, bottom], [left, right], [0, 0]]
    inputs = [emission.read(x), emission.integers(f"{node.name}_margins", sides)]
    if not lowest:
        emission.emit(node, "PAD", inputs, padded, schema.PadOptionsT())
        return padded
    if params is None:
        smallest = np.asarray(np.finfo(np.float32).min, np.float32)
        fill = emission.weights(f"{node.name}_lowest", smallest)
    else:
        fill = emission.codes(
            f"{node.name}_lowest", np.asarray(params.codes[0], type_of(params)), params
        )
    emission.emit(node, "PADV2", [*inputs, fill], padded, schema.PadV2OptionsT())
    return padded


@emits(depth_to_space)
def depth_to_space_(emission: Emission, node: fx.Node) -> None:
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = arguments(node)[1]
    x = emission.read(arguments(node)[0])
    emission.emit(node, "DEPTH_TO_SPACE", [x], emission.output(node), options)


@emits(space_to_depth)
def space_to_depth_(emission: Emission, node: fx.Node) -> None:
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = arguments(node)[1]
    x = emission.read(arguments(node)[0])
    emission.emit(node, "SPACE_TO_DEPTH", [x], emission.output(node), options)


@emits(stack_rows)
def stack_rows_(emission: Emission, node: fx.Node) -> None:
    shape = nhwc(emission.shape(node))
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    inputs = [emission.read(arguments(node)[0]), emission.integers(f"{node.name}_shape", shape)]
    emission.emit(node, "RESHAPE", inputs, emission.output(node), options)


@emits(rectangle_to_space)
def rectangle_to_space_(emission: Emission, node: fx.Node) -> None:
    """DEPTH_TO_SPACE has square blocks; in NHWC the columns of a block lie in place already, so
    one transpose of rows and columns between two reshapes does it."""
    x, rows, _ = arguments(node)
    _, channels, height, width = emission.shape(x)
    run = channels // rows
    shapes = (height, width, rows, run), (height, rows, width, run), nhwc(emission.shape(node))
    params = emission.params(node)
    # `temporary` takes NCHW.
    split, swapped = (
        emission.temporary(f"{node.name}_{name}", (a, d, b, c), params)
        for name, (a, b, c, d) in zip(("blocks", "rows"), shapes, strict=False)
    )

    def reshape(source: int, shape: tuple[int, ...], result: int) -> None:
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        name = f"{node.name}_shape{result}"
        emission.emit(node, "RESHAPE", [source, emission.integers(name, shape)], result, options)

    reshape(emission.read(x), shapes[0], split)
    order = emission.integers(f"{node.name}_order", (0, 2, 1, 3))
    emission.emit(node, "TRANSPOSE", [split, order], swapped, schema.TransposeOptionsT())
    reshape(swapped, shapes[2], emission.output(node))

"""Pooling, means and resizing."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema
from edgesr.export.lower.editor import arguments
from edgesr.export.tflite.emission import Emission, unsupported
from edgesr.export.tflite.fusion import NONE
from edgesr.export.tflite.operators.layout import write_pad
from edgesr.export.tflite.operators.table import emits
from edgesr.export.tflite.padding import VALID, Window, scheme_for
from torch import fx

from edgesr.graph import aten


@emits(aten.max_pool2d.default)
def max_pool(emission: Emission, node: fx.Node) -> None:
    """TFLite ignores what lies outside, as torch does (it pads by minus infinity).

    Where the margins are neither SAME nor VALID, they are written out, of the smallest value.
    """
    x, kernel, stride, padding, dilation, _ = _arguments(node, [], [0, 0], [1, 1], False)
    if list(dilation) not in ([1, 1], [1]):
        raise unsupported(node, "TFLite's maximum pooling has no dilation")
    rows, columns = _windows(emission, node, kernel, stride or kernel, padding)
    scheme = scheme_for(rows, columns)
    if scheme is not None:
        _pool(emission, node, "MAX_POOL_2D", emission.read(x), scheme, (rows, columns))
        return
    margins = ((rows.before, max(rows.after, 0)), (columns.before, max(columns.after, 0)))
    padded = write_pad(emission, node, x, margins, lowest=True)
    _pool(emission, node, "MAX_POOL_2D", padded, VALID, (rows, columns))


@emits(aten.avg_pool2d.default)
def average_pool(emission: Emission, node: fx.Node) -> None:
    """Torch counts the zeros it pads with, TFLite does not: they are written out."""
    x, kernel, stride, padding, ceil, counts, divisor = _arguments(
        node, [], [0, 0], False, True, None
    )
    rows, columns = _windows(emission, node, kernel, stride or kernel, padding)
    if ceil or divisor is not None or (not counts and any(_pair(padding))):
        raise unsupported(node, "TFLite's average pooling has no ceil_mode and no divisor")
    source = emission.read(x)
    if any(_pair(padding)):
        margins = ((rows.before, rows.before), (columns.before, columns.before))
        source = write_pad(emission, node, x, margins)
    _pool(emission, node, "AVERAGE_POOL_2D", source, VALID, (rows, columns))


def _pool(
    emission: Emission,
    node: fx.Node,
    name: str,
    source: int,
    scheme: int,
    windows: tuple[Window, Window],
) -> None:
    rows, columns = windows
    options = schema.Pool2DOptionsT()
    options.padding, options.fusedActivationFunction = scheme, NONE
    options.filterHeight, options.filterWidth = rows.kernel, columns.kernel
    options.strideH, options.strideW = rows.stride, columns.stride
    emission.emit(node, name, [source], emission.output(node), options)


@emits(aten.mean.dim)
def mean(emission: Emission, node: fx.Node) -> None:
    x, axes, keep = _arguments(node, [], False)[:3]
    if sorted(axis % 4 for axis in axes) != [2, 3] or not keep:
        raise unsupported(node, "TFLite files of edgesr average rows and columns, keeping both")
    options = schema.ReducerOptionsT()
    options.keepDims = True
    inputs = [emission.read(x), emission.integers(f"{node.name}_axes", [1, 2])]
    emission.emit(node, "MEAN", inputs, emission.output(node), options)


@emits(aten.sum.dim_IntList)
def sum_(emission: Emission, node: fx.Node) -> None:
    x, axes, keep = _arguments(node, [], False)[:3]
    if [axis % 4 for axis in axes] != [1] or not keep:
        raise unsupported(node, "TFLite files of edgesr sum channels, keeping the axis")
    options = schema.ReducerOptionsT()
    options.keepDims = True
    inputs = [emission.read(x), emission.integers(f"{node.name}_axes", [3])]
    emission.emit(node, "SUM", inputs, emission.output(node), options)


@emits(aten.upsample_bilinear2d.vec)
def bilinear(emission: Emission, node: fx.Node) -> None:
    options = schema.ResizeBilinearOptionsT()
    options.alignCorners = bool(arguments(node)[2])
    options.halfPixelCenters = not options.alignCorners
    _resize(emission, node, "RESIZE_BILINEAR", options)


@emits(aten.upsample_nearest2d.vec)
def nearest(emission: Emission, node: fx.Node) -> None:
    """torch takes pixel floor(i * in / out); so does TFLite without half-pixel centres."""
    options = schema.ResizeNearestNeighborOptionsT()
    _resize(emission, node, "RESIZE_NEAREST_NEIGHBOR", options)


def _resize(emission: Emission, node: fx.Node, name: str, options: Any) -> None:
    size = emission.integers(f"{node.name}_size", emission.shape(node)[2:])
    inputs = [emission.read(arguments(node)[0]), size]
    emission.emit(node, name, inputs, emission.output(node), options)


def _arguments(node: fx.Node, *defaults: Any) -> list[Any]:
    """All arguments; `defaults` are those after the first two."""
    given = list(arguments(node))
    return given + list(defaults[len(given) - 2 :])


def _pair(value: Any) -> list[int]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return items * 2 if len(items) == 1 else items


def _windows(
    emission: Emission, node: fx.Node, kernel: Any, stride: Any, padding: Any
) -> tuple[Window, Window]:
    sizes, outputs = emission.shape(arguments(node)[0])[2:], emission.shape(node)[2:]
    rows, columns = (
        Window(sizes[i], _pair(kernel)[i], _pair(stride)[i], 1, _pair(padding)[i], outputs[i])
        for i in range(2)
    )
    return rows, columns

"""ncnn's files, as far as edgesr writes them: `.param` text, `.bin` weights.

    7767517
    4 4
    Input       x       0 1 x 0=40 1=30 2=3
    Convolution conv    1 1 x conv 0=32 1=3 ... 9=1
    ...

A line is a layer: kind, name, number of inputs and outputs, their blobs, and numbered parameters;
`-23303=2,1,2` is parameter 3, an array of two. Every blob is written once and read once, by
one that comes later: what two layers read goes through a `Split`. Weights follow each other in the
`.bin` in the layers' order, those of convolutions after a tag that tells float32 from float16.

ncnn trusts these files: a blob read twice, or a weight too few, ends in a segmentation fault. So
they are checked here before it sees them: structure, shapes, and the size of the weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

MAGIC = "7767517"
FLOAT32, FLOAT16 = b"\0\0\0\0", b"\x47\x6b\x30\x01"
"""Tags before the weights of a convolution."""
TO_THE_END = -233
"""Where a Crop stops that takes the rest; otherwise it counts as Python does."""
_ARRAY = -23300

Value = int | float | tuple[int, ...] | tuple[float, ...]
Blob = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True)
class Layer:
    """One line of a `.param` file."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, Value] = field(default_factory=dict)

    def number(self, key: int, default: int = 0) -> int:
        """A whole-number parameter."""
        value = self.parameters.get(key, default)
        if not isinstance(value, int):
            raise ValueError(f"parameter {key} of layer {self.name} is no whole number")
        return value

    def numbers(self, key: int) -> tuple[int, ...]:
        """An array of whole numbers."""
        value = self.parameters.get(key)
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            raise ValueError(f"parameter {key} of layer {self.name} is no array of whole numbers")
        return tuple(int(item) for item in value)


def text_of(layers: Sequence[Layer]) -> str:
    """The `.param` file."""
    blobs = sum(len(layer.outputs) for layer in layers)
    lines = [MAGIC, f"{len(layers)} {blobs}"]
    for layer in layers:
        ends = (str(len(layer.inputs)), str(len(layer.outputs)), *layer.inputs, *layer.outputs)
        values = (_parameter_text(key, value) for key, value in sorted(layer.parameters.items()))
        lines.append(" ".join((f"{layer.kind:<22}", f"{layer.name:<22}", *ends, *values)))
    return "\n".join(lines) + "\n"


def _parameter_text(key: int, value: Value) -> str:
    if isinstance(value, tuple):
        return ",".join((f"{_ARRAY - key}={len(value)}", *map(_number_text, value)))
    return f"{key}={_number_text(value)}"


def _number_text(value: float) -> str:
    # ncnn tells floats from whole numbers by their point.
    return str(value) if isinstance(value, int) else f"{value:.9e}"


def parse(text: str) -> list[Layer]:
    """The layers of a `.param` file.

    Raises:
        ValueError: it is none, is cut off, or its layers do not fit together.
    """
    lines = text.split("\n")
    if lines[0].strip() != MAGIC:
        raise ValueError(f"it does not begin with {MAGIC}")
    if len(lines) < 3 or lines[-1] != "":
        raise ValueError("it is cut off")
    layers = [_layer(line) for line in lines[2:-1]]
    blobs = sum(len(layer.outputs) for layer in layers)
    if lines[1].split() != [str(len(layers)), str(blobs)]:
        raise ValueError(f"it announces `{lines[1]}` layers and blobs, not {len(layers)} {blobs}")
    _check_blobs(layers)
    return layers


def _layer(line: str) -> Layer:
    fields = line.split()
    try:
        kind, name, inputs, outputs = fields[0], fields[1], int(fields[2]), int(fields[3])
        first, last = 4 + inputs, 4 + inputs + outputs
        if min(inputs, outputs) < 0 or len(fields) < last:
            raise ValueError
        parameters = dict(_parameter(text) for text in fields[last:])
    except (IndexError, ValueError):
        raise ValueError(f"`{line[:80]}` is no layer") from None
    return Layer(kind, name, tuple(fields[4:first]), tuple(fields[first:last]), parameters)


def _parameter(text: str) -> tuple[int, Value]:
    key, _, value = text.partition("=")
    if int(key) > _ARRAY:
        return int(key), _number(value)
    count, *items = value.split(",")
    if int(count) != len(items):
        raise ValueError
    return _ARRAY - int(key), tuple(_number(item) for item in items)


def _number(text: str) -> int | float:
    return float(text) if any(mark in text for mark in ".eE") else int(text)


def _check_blobs(layers: Sequence[Layer]) -> None:
    ready: set[str] = set()
    read: set[str] = set()
    for layer in layers:
        for blob in layer.inputs:
            if blob not in ready or blob in read:
                why = "read twice" if blob in read else "not written before it is read"
                raise ValueError(f"blob {blob} of layer {layer.name} is {why}")
            read.add(blob)
        for blob in layer.outputs:
            if blob in ready:
                raise ValueError(f"blob {blob} of layer {layer.name} is written twice")
            ready.add(blob)
    if ready - read != {"y"} or Counter(layer.kind for layer in layers)["Input"] != 1:
        raise ValueError(f"it has no single image in and out; unread are {sorted(ready - read)}")


def input_of(layers: Sequence[Layer]) -> tuple[str, Blob]:
    """The input's blob, and its size; height and width 0 where any will do."""
    layer = next(layer for layer in layers if layer.kind == "Input")
    return layer.outputs[0], (layer.number(2), layer.number(1), layer.number(0))


def shapes(layers: Sequence[Layer], height: int, width: int) -> dict[str, Blob]:
    """Size of every blob for an image of this size.

    Raises:
        ValueError: a kind of layer edgesr does not write, or sizes that do not fit.
    """
    found: dict[str, Blob] = {}
    for layer in layers:
        if layer.kind not in _SHAPES:
            raise ValueError(f"edgesr writes no layer of kind {layer.kind}")
        given = [found[name] for name in layer.inputs]
        if layer.kind == "Input":
            results = [(layer.number(2), height, width)]
        elif layer.kind == "Split":
            results = given * len(layer.outputs)
        else:
            results = [_SHAPES[layer.kind](layer, *given)]
        for blob in results:
            if min(blob) < 1 or max(blob) > 1 << 20:
                raise ValueError(f"layer {layer.name} leaves {blob}")
        found.update(zip(layer.outputs, results, strict=True))
    return found


def weight_bytes(layers: Sequence[Layer], found: Mapping[str, Blob], weights: bytes) -> int:
    """Bytes the layers read of the `.bin` file, whose tags tell their types.

    Raises:
        ValueError: weights that do not fit the layer they belong to, or the wrong tag.
    """
    offset = 0
    for layer in layers:
        count, plain = weights_of(layer, found)
        if count:
            tag = weights[offset : offset + 4]
            if tag not in (FLOAT32, FLOAT16):
                raise ValueError(f"the weights of layer {layer.name} have no tag")
            size = 4 * count if tag == FLOAT32 else 2 * count
            offset += 4 + -(-size // 4) * 4
        offset += 4 * plain
    return offset


def weights_of(layer: Layer, found: Mapping[str, Blob]) -> tuple[int, int]:
    """How many weights a layer has behind a tag, and how many without.

    Raises:
        ValueError: not as many as its parameters say.
    """
    if layer.kind in _CONVOLUTIONS:
        outputs, inputs = layer.number(0), found[layer.inputs[0]][0]
        groups = layer.number(7, 1)
        taps = layer.number(11) * layer.number(1)
        count = outputs * (inputs // groups if groups > 0 else 0) * taps
        if count < 1 or count != layer.number(6) or inputs % groups or outputs % groups:
            raise ValueError(f"layer {layer.name} wants {count} weights and has {layer.number(6)}")
        return count, outputs if layer.number(5) else 0
    if layer.kind == "PReLU":
        if layer.number(0) not in (1, found[layer.inputs[0]][0]):
            raise ValueError(f"layer {layer.name} has {layer.number(0)} slopes")
        return 0, layer.number(0)
    if layer.kind == "MemoryData":
        return 0, math.prod(found[layer.outputs[0]])
    return 0, 0


_CONVOLUTIONS = (
    "Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise",
)  # fmt: skip


def _same(layer: Layer, x: Blob) -> Blob:
    return x


def _memory(layer: Layer) -> Blob:
    return layer.number(2), layer.number(1), layer.number(0)


def _extent(layer: Layer, axis: int) -> tuple[int, int, int, int]:
    """Kernel, dilation, stride and margins; rows keep theirs ten keys after columns'."""
    rows = axis == 0
    kernel, dilation, stride = (layer.number(k + 10 * rows, 1) for k in (1, 2, 3))
    margins = layer.number(14) + layer.number(16) if rows else layer.number(4) + layer.number(15)
    if min(kernel, dilation, stride) < 1 or margins < 0:
        raise ValueError(f"layer {layer.name} has a kernel, stride or margin below its least")
    return kernel, dilation, stride, margins


def _convolution(layer: Layer, x: Blob) -> Blob:
    sides = []
    for axis in range(2):
        kernel, dilation, stride, margins = _extent(layer, axis)
        sides.append((x[1 + axis] + margins - dilation * (kernel - 1) - 1) // stride + 1)
    return layer.number(0), sides[0], sides[1]


def _deconvolution(layer: Layer, x: Blob) -> Blob:
    sides = []
    for axis, extra in ((0, 19), (1, 18)):
        kernel, dilation, stride, margins = _extent(layer, axis)
        reach = (x[1 + axis] - 1) * stride + dilation * (kernel - 1) + 1
        sides.append(reach + layer.number(extra) - margins)
    return layer.number(0), sides[0], sides[1]


def _pooling(layer: Layer, x: Blob) -> Blob:
    if layer.number(4):
        return 1, 1, x[0]  # a row of means
    sides = []
    for axis, keys in ((0, (11, 12, 13, 15)), (1, (1, 2, 3, 14))):
        kernel, stride, before, after = (layer.number(key) for key in keys)
        if kernel < 1 or stride < 1:
            raise ValueError(f"layer {layer.name} has a kernel or stride below 1")
        room = x[1 + axis] + before + after - kernel
        # Mode 0 keeps the window that begins inside and ends beyond the border.
        sides.append((-(-room // stride) if layer.number(5) == 0 else room // stride) + 1)
    return x[0], sides[0], sides[1]


def _reduction(layer: Layer, x: Blob) -> Blob:
    axes = layer.numbers(3)
    c, h, w = (1 if axis in axes else side for axis, side in enumerate(x))
    return c, h, w


def _reshape(layer: Layer, x: Blob) -> Blob:
    return math.prod(x), 1, 1


def _broadcast(layer: Layer, *operands: Blob) -> Blob:
    c, h, w = (max(sides) for sides in zip(*operands, strict=True))
    for operand in operands:
        if any(side not in (1, most) for side, most in zip(operand, (c, h, w), strict=True)):
            raise ValueError(f"the operands of layer {layer.name} do not fit: {operands}")
    return c, h, w


def _concat(layer: Layer, *parts: Blob) -> Blob:
    axis = layer.number(0)
    rest = {tuple(side for n, side in enumerate(part) if n != axis) for part in parts}
    if axis not in range(3) or len(rest) != 1:
        raise ValueError(f"the inputs of layer {layer.name} do not fit: {parts}")
    total = sum(part[axis] for part in parts)
    c, h, w = (total if n == axis else side for n, side in enumerate(parts[0]))
    return c, h, w


def _crop(layer: Layer, x: Blob) -> Blob:
    sides = list(x)
    bounds = (layer.numbers(key) for key in (9, 10, 11))
    for start, stop, axis in zip(*bounds, strict=True):
        extent = sides[axis] if axis in range(3) else 0
        start = start + extent if start < 0 else start
        stop = extent if stop == TO_THE_END else stop + extent if stop < 0 else stop
        if axis not in range(3) or not 0 <= start < stop <= extent:
            raise ValueError(f"layer {layer.name} cuts {start}..{stop} of {x}")
        sides[axis] = stop - start
    return sides[0], sides[1], sides[2]


def _padding(layer: Layer, x: Blob) -> Blob:
    top, bottom, left, right = (layer.number(key) for key in range(4))
    if min(top, bottom, left, right) < 0:
        raise ValueError(f"layer {layer.name} pads by less than nothing")
    return x[0], x[1] + top + bottom, x[2] + left + right


def _shuffle(layer: Layer, x: Blob) -> Blob:
    block = layer.number(0, 1)
    if block < 1 or x[0] % block**2:
        raise ValueError(f"layer {layer.name} makes blocks of {block} of {x[0]} channels")
    return x[0] // block**2, x[1] * block, x[2] * block


def _unshuffle(layer: Layer, x: Blob) -> Blob:
    block = layer.number(0, 1)
    if block < 1 or x[1] % block or x[2] % block:
        raise ValueError(f"layer {layer.name} cuts {x[1]}x{x[2]} into blocks of {block}")
    return x[0] * block**2, x[1] // block, x[2] // block


def _interp(layer: Layer, x: Blob, *like: Blob) -> Blob:
    if like:
        return x[0], *like[0][1:]
    if layer.number(3) and layer.number(4):
        return x[0], layer.number(3), layer.number(4)
    factors = [float(layer.parameters.get(key, 1)) for key in (1, 2)]  # type: ignore[arg-type]
    if not all(0 < factor < math.inf for factor in factors):
        raise ValueError(f"layer {layer.name} enlarges by {factors}")
    return x[0], int(x[1] * factors[0]), int(x[2] * factors[1])


_SHAPES: dict[str, Callable[..., Blob]] = {
    "Input": _same, "Split": _same, "Noop": _same, "ReLU": _same, "PReLU": _same, "Clip": _same,
    "Sigmoid": _same, "TanH": _same, "UnaryOp": _same, "MemoryData": _memory,
    "Convolution": _convolution, "ConvolutionDepthWise": _convolution,
    "Deconvolution": _deconvolution, "DeconvolutionDepthWise": _deconvolution,
    "Pooling": _pooling, "Reduction": _reduction, "Reshape": _reshape, "BinaryOp": _broadcast,
    "Concat": _concat, "Crop": _crop, "Padding": _padding, "PixelShuffle": _shuffle,
    "Reorg": _unshuffle, "Interp": _interp,
}  # fmt: skip

"""Operators in whole numbers, for which ONNX only has floats: the same codes in every runtime.

Bilinear. ONNX's Resize works on floats. XNNPACK, which runs int8 on phones, rounds the weights to
11 bits; so does this, with Gather and int32 arithmetic. Positions are computed in the graph from
the sizes: one file serves every image size, and runtimes fold them where the size is fixed.

    rows  = (x[upper] << 11) + (x[lower] - x[upper]) * down
    total = (rows[left] << 11) + (rows[right] - rows[left]) * across
    code  = (total + 2^21) >> 22                                        codes 0..255: never negative

Mean. The order in which floats are added changes their sum; whole numbers have one sum.

    code  = round(float(sum(x) - count * zero_point) * m),    m = (s_in / s_out) * (1 / count)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from edgesr.export.onnx.builder import Builder

FRACTION = 2048
"""11 bits."""
_TYPES = {
    np.float32: onnx.TensorProto.FLOAT,
    np.int32: onnx.TensorProto.INT32,
    np.int64: onnx.TensorProto.INT64,
    np.uint8: onnx.TensorProto.UINT8,
}


def emit_mean(
    b: Builder, name: str, codes: str, axes: list[int], zero_point: int, ratio: float, *, keep: bool
) -> str:
    """The mean of uint8 codes in codes of the result, float, not yet rounded.

    Args:
        zero_point: of `codes`, 0..255.
        ratio: input scale over output scale, in float32.
    """
    over = b.constant(f"{name}.axes", np.array(axes, np.int64))
    wide = _cast(b, codes, f"{name}.wide", np.int32)
    total = b.emit("ReduceSum", [wide, over], f"{name}.sum", keepdims=int(keep))
    sides = b.emit("Gather", [b.emit("Shape", [codes], f"{name}.shape"), over], f"{name}.sides")
    count = b.emit("ReduceProd", [sides], f"{name}.count", keepdims=0)
    zero = b.constant(f"{name}.zero_sum", np.int32(zero_point))
    zeros = b.emit("Mul", [_cast(b, count, f"{name}.count_int", np.int32), zero], f"{name}.zeros")
    centred = b.emit("Sub", [total, zeros], f"{name}.centred")
    one, factor = (
        b.constant("mean.one", np.float32(1)),
        b.constant(f"{name}.ratio", np.float32(ratio)),
    )
    number = _cast(b, count, f"{name}.count_float", np.float32)
    share = b.emit("Div", [one, number], f"{name}.share")
    multiplier = b.emit("Mul", [factor, share], f"{name}.multiplier")
    return b.emit("Mul", [_cast(b, centred, f"{name}.float", np.float32), multiplier], f"{name}.op")


def emit_bilinear(
    b: Builder, name: str, codes: str, sizes: tuple[str, str], *, aligned: bool
) -> str:
    """The uint8 codes `codes` (NCHW), resized.

    Args:
        name: prefix of what is emitted.
        sizes: tensors of one int64 each: target height and width.
        aligned: torch's `align_corners`.

    Returns:
        Name of the uint8 result.
    """
    value = _cast(b, codes, f"{name}.wide", np.int32)
    # Columns first: the large result then comes from gathering whole rows, which is copying.
    for axis, size, side in ((3, sizes[1], "column"), (2, sizes[0], "row")):
        value = _blend(b, f"{name}.{side}", value, axis, size, aligned)
    # The half that rounds was added before the rows were gathered.
    one = b.constant("bilinear.one", np.int32(FRACTION**2))
    return _cast(b, b.emit("Div", [value, one], f"{name}.whole"), name, np.uint8)


def _blend(b: Builder, name: str, value: str, axis: int, size: str, aligned: bool) -> str:
    """`2048 value[first] + (value[first + 1] - value[first]) * weight` along an axis.

    Scaled and subtracted at the size of the source, which is the smaller one.
    """
    first, following, weight = _taps(b, name, value, axis, size, aligned)
    shifted = b.emit("Gather", [value, following], f"{name}.shifted", axis=axis)
    step = b.emit("Sub", [shifted, value], f"{name}.step")
    fraction = b.constant("bilinear.fraction", np.int32(FRACTION))
    scaled = b.emit("Mul", [value, fraction], f"{name}.scaled")
    if axis == 2:
        half = b.constant("bilinear.half", np.int32(FRACTION**2 // 2))
        scaled = b.emit("Add", [scaled, half], f"{name}.plus_half")
        axes = b.constant("bilinear.last", np.array([1], np.int64))
        weight = b.emit("Unsqueeze", [weight, axes], f"{name}.weights")
    near = b.emit("Gather", [scaled, first], f"{name}.near", axis=axis)
    slope = b.emit("Gather", [step, first], f"{name}.slope", axis=axis)
    return b.emit("Add", [near, b.emit("Mul", [slope, weight], f"{name}.part")], f"{name}.blend")


def _taps(
    b: Builder, name: str, source: str, axis: int, size: str, aligned: bool
) -> tuple[str, str, str]:
    """First neighbour of every output position, the next of every source position, and the weight.

    The weight is the second neighbour's (see `integer._taps`).

    float32 throughout, in the order of the reference: another order rounds other weights.
    """

    def number(value: float) -> str:
        return b.constant(f"bilinear.{value:g}", np.float32(value))

    def step(kind: str, *inputs: str, label: str) -> str:
        return b.emit(kind, list(inputs), f"{name}.{label}")

    axes = b.constant("bilinear.zeroth", np.array([0], np.int64))
    side = b.emit("Shape", [source], f"{name}.source", start=axis, end=axis + 1)
    length = _cast(b, step("Squeeze", side, axes, label="scalar"), f"{name}.from", np.float32)
    target = _cast(b, step("Squeeze", size, axes, label="size"), f"{name}.to", np.float32)
    index = step("Range", number(0), target, number(1), label="index")
    last = step("Sub", length, number(1), label="last")
    if aligned:
        steps = step("Max", step("Sub", target, number(1), label="less"), number(1), label="steps")
        position = step("Mul", index, step("Div", last, steps, label="ratio"), label="position")
    else:
        ratio = step("Div", length, target, label="ratio")
        centre = step("Add", index, number(0.5), label="centre")
        scaled = step("Mul", centre, ratio, label="scaled_centre")
        position = step("Sub", scaled, number(0.5), label="position")
    position = step("Max", position, number(0), label="at_least")
    position = step("Min", position, last, label="at_most")
    floor = step("Floor", position, label="floor")
    part = step("Mul", step("Sub", position, floor, label="rest"), number(FRACTION), label="share")
    weight = _cast(b, step("Round", part, label="rounded"), f"{name}.weight", np.int32)
    end = step("Add", length, number(1), label="end")
    after = step("Range", number(1), end, number(1), label="after")
    inside = step("Min", after, last, label="inside")
    following = _cast(b, inside, f"{name}.following", np.int64)
    return _cast(b, floor, f"{name}.first", np.int64), following, weight


def _cast(b: Builder, tensor: str, name: str, dtype: Any) -> str:
    return b.emit("Cast", [tensor], name, to=_TYPES[dtype])

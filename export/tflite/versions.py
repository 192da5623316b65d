"""Versions of the operators we write, and the oldest runtime that knows each.

After `runtime_version.cc` of TensorFlow Lite. DEPTH_TO_SPACE stays at version 1 for int8: the
kernel is the same, and some runtimes refuse version 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Versions:
    """Version of an operator for floats and for int8; None where there is no such kernel."""

    floating: int
    integer: int | None


VERSIONS = {
    "ADD": Versions(1, 2),
    "AVERAGE_POOL_2D": Versions(1, 2),
    "CONCATENATION": Versions(1, 2),
    "CONV_2D": Versions(1, 3),
    "DEPTHWISE_CONV_2D": Versions(1, 3),
    "DEPTH_TO_SPACE": Versions(1, 1),
    "DEQUANTIZE": Versions(3, 2),  # float16 weights; int8 activations
    "DIV": Versions(1, None),
    "GATHER": Versions(1, 2),
    "LEAKY_RELU": Versions(1, 2),
    "LOGISTIC": Versions(1, 2),
    "MAXIMUM": Versions(1, 2),
    "MAX_POOL_2D": Versions(1, 2),
    "MEAN": Versions(1, 2),
    "MINIMUM": Versions(1, 2),
    "MIRROR_PAD": Versions(1, 2),
    "MUL": Versions(1, 2),
    "PAD": Versions(1, 2),
    "PADV2": Versions(1, 2),
    "POW": Versions(1, None),
    "PRELU": Versions(1, 1),
    "QUANTIZE": Versions(1, 2),  # from float; between uint8 and int8
    "RELU": Versions(1, 2),
    "RELU6": Versions(1, 2),
    "RELU_0_TO_1": Versions(1, None),
    "RELU_N1_TO_1": Versions(1, None),
    "RESHAPE": Versions(1, 1),
    "RESIZE_BILINEAR": Versions(3, 3),  # half_pixel_centers
    "RESIZE_NEAREST_NEIGHBOR": Versions(1, 2),
    "RSQRT": Versions(1, None),
    "SLICE": Versions(1, 2),
    "SPACE_TO_DEPTH": Versions(1, 2),
    "SQRT": Versions(1, 2),
    "SQUARE": Versions(1, None),
    "STRIDED_SLICE": Versions(1, 2),
    "SUB": Versions(1, 2),
    "SUM": Versions(1, None),
    "TANH": Versions(1, 2),
    "TRANSPOSE": Versions(1, 2),
    "TRANSPOSE_CONV": Versions(3, None),
}

WIDE = {
    "ADD": 3, "AVERAGE_POOL_2D": 3, "CONCATENATION": 3, "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5,
    "DEQUANTIZE": 3, "LEAKY_RELU": 2, "LOGISTIC": 3, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3,
    "MINIMUM": 4, "MIRROR_PAD": 3, "MUL": 4, "PAD": 3, "PADV2": 3, "QUANTIZE": 2, "RELU": 3,
    "RESIZE_BILINEAR": 4, "RESIZE_NEAREST_NEIGHBOR": 4, "SLICE": 4, "STRIDED_SLICE": 6, "SUB": 5,
    "TANH": 3,
}  # fmt: skip
"""Versions of operators on int16; those that are not here have no such kernel."""

GROUPED_CONV = 6
"""CONV_2D whose kernel has fewer input channels than the map."""

_RUNTIMES = {
    ("ADD", 3): "2.4.0",
    ("CONV_2D", 4): "2.3.0",
    ("CONV_2D", GROUPED_CONV): "2.9.0",
    ("DEPTHWISE_CONV_2D", 5): "2.3.0",
    ("DEPTH_TO_SPACE", 1): "2.1.0",
    ("DEQUANTIZE", 3): "1.15.0",
    ("LEAKY_RELU", 2): "2.3.0",
    ("MIRROR_PAD", 2): "2.3.0",
    ("QUANTIZE", 2): "1.15.0",
    ("RELU", 2): "2.1.0",
    ("RELU_0_TO_1", 1): "2.10.0",
    ("RESIZE_BILINEAR", 3): "2.2.0",
    ("SQRT", 2): "2.21.0",
    ("TRANSPOSE_CONV", 3): "2.3.0",
}
_OLDEST = "1.14.0"
"""Knows everything else in the table."""


def minimum_runtime(operators: Iterable[tuple[str, int]]) -> str:
    """The oldest TFLite version that runs all of these (name, version) pairs."""
    needed = [_OLDEST, *(_RUNTIMES.get(key, _OLDEST) for key in operators)]
    return max(needed, key=lambda version: tuple(int(part) for part in version.split(".")))

"""`Target`: what a runtime wants its file to look like.

A target decides how the same function is spelled. Which spelling is the fastest is measured, not
guessed: `python -m edgesr.benchmarks.forms` writes `benchmarks/results/forms.json`, and the file
of each target says which of its figures it follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesr.errors import UsageError

Precision = Literal["fp32", "fp16", "int8", "int16x8"]
"""`int16x8`: activations of 16 bits, weights of 8."""

Shuffle = Literal["codes", "rows", "real"]
"""How an int8 file spells depth-to-space; the codes that come out are the same.

    codes    the operator, on the codes
    rows     TFLite: the rows of the blocks side by side and a RESHAPE, for NPUs without it
    real     ONNX: the operator between DequantizeLinear and QuantizeLinear
"""


@dataclass(frozen=True)
class Forms:
    """The spelling of things that can be written in several ways, all of them exact."""

    anchor: Literal["concat", "conv", "resize"]
    """The nearest-neighbour skip: `concat` of the image with itself, a one-hot 1x1 `conv`, or a
    `resize` added after the pixels are shuffled."""
    clip: Literal["minmax", "relu_0_to_1", "saturate"]
    """The clip to the value range: ReLU (fused) and minimum; one operator where the range is
    [0, 1]; or nothing at all, because int8 saturates there."""
    shuffle: Literal["depth_to_space", "crd"]
    """Channel order of the pixel shuffle: NHWC's depth-to-space (block row, block column,
    colour), or torch's (colour first)."""
    prelu: Literal["prelu", "two_relus"]
    """PReLU as it is, or as `relu(x) - a * relu(-x)`."""


@dataclass(frozen=True)
class Target:
    """A kind of file edgesr writes."""

    name: str
    """As on the command line."""
    format: Literal["tflite", "onnx", "openvino", "ncnn"]
    """The writer."""
    suffix: str
    """Of the file, with its dot."""
    layout: Literal["NHWC", "NCHW"]
    dynamic: bool
    """Whether one file can take images of any size."""
    float_forms: Forms
    int8_forms: Forms
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int16x8")
    """The first is what is written unless another is asked for."""
    io: Literal["uint8", "int8", "float32"] = "uint8"
    """Ends of an int8 file unless others are asked for."""
    shuffle: Shuffle = "codes"
    compiler: Literal["", "vela", "rknn", "qnn"] = ""
    """The vendor's compiler that makes an NPU's binary of the file, of `edgesr.export.compile`."""
    chip: str = ""
    """What the compiler calls the NPU."""
    why_float: str = ""
    """Why there is no int8, where there is none."""

    def forms(self, precision: str) -> Forms:
        """The spelling for this precision.

        Raises:
            UsageError: the target has no such precision.
        """
        if precision not in self.precisions:
            offered = f"choose {', '.join(self.precisions)}"
            if precision.startswith("int") and self.why_float:
                offered = f"{self.why_float}; {offered}, or --target tflite or onnx for integers"
            raise UsageError(f"{self.name} is not written in `{precision}`; {offered}")
        return self.int8_forms if precision.startswith("int") else self.float_forms


INT8_FORMS = Forms(anchor="conv", clip="saturate", shuffle="depth_to_space", prelu="prelu")
"""One spelling for every int8 target: they are all written from the same quantized graph, so that
their outputs can be compared code by code."""

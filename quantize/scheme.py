"""What quantization decides, and nothing else: one set of scales that every writer spells out.

`real = scale * (code - zero_point)`, codes in int8 (-128..127). ONNX and OpenVINO store
activations as uint8: the same codes plus 128. 16-bit activations are symmetric: int16, zero
point 0. A tensor without scales stays float; so does a convolution without integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx

from edgesr.network import Network

LOWEST, HIGHEST = -128, 127
LOWEST_16, HIGHEST_16 = -(2**15), 2**15 - 1


@dataclass(frozen=True)
class QParams:
    """Per-tensor affine quantization of an activation."""

    scale: float
    """Representable in float32, so that every file stores this very number."""
    zero_point: int
    """The code of 0.0: in -128..127 for 8 bits, 0 for 16."""
    bits: Literal[8, 16] = 8

    @property
    def codes(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        return (LOWEST, HIGHEST) if self.bits == 8 else (LOWEST_16, HIGHEST_16)

    @property
    def lowest(self) -> float:
        """The smallest real value that does not saturate."""
        return self.scale * (self.codes[0] - self.zero_point)

    @property
    def highest(self) -> float:
        """The largest real value that does not saturate."""
        return self.scale * (self.codes[1] - self.zero_point)

    def code_of(self, value: float) -> int:
        """The code nearest to a real value, half to even as the runtimes round; not clamped."""
        step = torch.tensor(value, dtype=torch.float32) / torch.tensor(self.scale)
        return int(torch.round(step.double())) + self.zero_point


@dataclass(frozen=True)
class QWeights:
    """A convolution's integers. Weights are symmetric: their zero point is 0."""

    weight: Tensor
    """int8, O x I/groups x kH x kW, in -127..127."""
    scale: Tensor
    """float32 [O]: one per output channel."""
    bias: Tensor
    """int32 [O] (int64 behind 16-bit activations), in units of `input scale * weight scale`."""


@dataclass
class QuantizedGraph:
    """A lowered graph and the integers that stand for its numbers."""

    graph: fx.GraphModule
    """Canonical ATen, float: run it to get what the integers approximate."""
    activations: dict[str, QParams]
    """By node name. A node that carries an image tensor and is not here carries floats."""
    weights: dict[str, QWeights]
    """By name of the convolution node. A convolution that is not here runs in float."""
    network: Network
    """What was quantized: the collapsed network, in float."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """Observer, number of patches, pixel hashes of the images and steps, for the manifest."""
    certificate: dict[str, Any] = field(default_factory=dict)
    """The collapse's proof (`Certificate.to_dict()`), for the manifest."""

    @property
    def precision(self) -> str:
        """`int8`, or `int16x8`: 16-bit activations, 8-bit weights."""
        return "int16x8" if any(p.bits == 16 for p in self.activations.values()) else "int8"

"""Random canonical graphs, operator by operator: what the cases of `fuzz_cases.py` quantize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from torch import fx

from edgesr.graph import add_constant, tidy

aten = torch.ops.aten
MOST_VALUES = 60_000
"""Of one tensor: a case takes milliseconds."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the sketch and its shape."""

    node: fx.Node
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width


class Sketch:
    """A canonical graph, operator by operator; every draw continues from one of its tensors."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.module = fx.GraphModule(torch.nn.Module(), fx.Graph())
        self.height, self.width = (int(n) for n in rng.integers(1, 24, 2))
        x = self.module.graph.placeholder("x")
        x.meta["val"] = torch.empty(1, 3, 8, 8, device="meta")
        self.tensors = [Tensor(x, 3, self.height, self.width)]

    def finish(self) -> fx.GraphModule:
        """Three channels of pixels at the end; what nothing reads is dropped."""
        end = self.conv(self.tensors[-1], channels=3, kernel=1)
        self.module.graph.output(end.node)
        return tidy(self.module)

    # --- drawing ---

    def draw(self) -> None:
        """One more operator, on one of the last tensors."""
        x = self.tensors[-1 - min(int(self.rng.geometric(0.7)) - 1, len(self.tensors) - 1)]
        if x.node.op == "placeholder" and self.rng.random() < 0.8:
            self.conv(x)
            return
        drawn: list[Callable[[Tensor], Tensor]] = [
            self.conv, self.conv, self.depthwise, self.grouped, self.relu, self.clamp, self.leaky,
            self.prelu, self.add, self.add, self.cat, self.slice, self.shuffle, self.nearest,
            self.max_pool, self.average_pool, self.pad, self.constant, self.mul, self.square,
            self.sigmoid, self.tanh, self.attention, self.bilinear, self.swish,
        ]  # fmt: skip
        drawn[int(self.rng.integers(len(drawn)))](x)

    def draw_alone(self, name: str) -> None:
        """A convolution or two, then the operator called `name`."""
        while min(self.height, self.width) < 2:
            self.height, self.width = (int(n) for n in self.rng.integers(2, 24, 2))
            self.tensors = [replace(self.tensors[0], height=self.height, width=self.width)]
        x = self.conv(self.tensors[0], stride=1)
        getattr(self, name)(x)

    def _call(self, target: Any, args: tuple[Any, ...], shape: tuple[int, int, int]) -> Tensor:
        found = Tensor(self.module.graph.call_function(target, args), *shape)
        self.tensors.append(found)
        return found

    def _constant(self, value: torch.Tensor) -> fx.Node:
        return add_constant(self.module, value.float(), f"c{len(self.module._buffers)}")

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.standard_normal(shape)).float()

    def _pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def _room(self, channels: int, height: int, width: int) -> bool:
        return channels * height * width <= MOST_VALUES

    # --- convolutions ---

    def conv(
        self,
        x: Tensor,
        *,
        channels: int | None = None,
        kernel: int | None = None,
        stride: int | None = None,
        groups: int = 1,
    ) -> Tensor:
        """Any kernel, stride, dilation and padding that leave an image."""
        rows, columns = (kernel or int(self._pick(1, 1, 2, 3, 3, 5)) for _ in range(2))
        count = channels or groups * int(self.rng.integers(1, max(2, 20 // groups)))
        stride = stride or int(self._pick(1, 1, 1, 2, 3))
        dilation = int(self._pick(1, 1, 1, 2))
        padding = [self._pick(0, k // 2, k // 2, dilation * (k // 2)) for k in (rows, columns)]
        sides = []
        for axis, (side, taps) in enumerate(zip(x.shape[1:], (rows, columns), strict=True)):
            extent = (taps - 1) * dilation + 1
            if side + 2 * padding[axis] < extent:
                padding[axis] = -(-(extent - side) // 2)
            sides.append((side + 2 * padding[axis] - extent) // stride + 1)
        weight = self._weights(count, x.channels // groups, rows, columns)
        bias = None
        if self.rng.random() < 0.8:
            size = weight.abs().amax() * 10 ** float(self.rng.uniform(-2, 1))
            bias = self._constant(self._normal(count) * size)
        geometry = ([stride, stride], padding, [dilation, dilation], groups)
        args = (x.node, self._constant(weight), bias, *geometry)
        return self._call(aten.conv2d.default, args, (count, sides[0], sides[1]))

    def depthwise(self, x: Tensor) -> Tensor:
        """One or two filters per channel."""
        return self.conv(x, channels=x.channels * self._pick(1, 1, 2), groups=x.channels)

    def grouped(self, x: Tensor) -> Tensor:
        """Groups where the channels divide."""
        return self.conv(x, groups=2 if x.channels % 2 == 0 else 1)

    def _weights(self, *shape: int) -> torch.Tensor:
        fan_in = float(np.prod(shape[1:]))
        size = 10 ** float(self.rng.uniform(-3, 3)) / fan_in**0.5
        weight: torch.Tensor = self._normal(*shape) * size
        if self.rng.random() < 0.4:  # channels of very different sizes
            spread = self.rng.uniform(-3, 0, shape[0])
            weight = weight * torch.from_numpy(10**spread).float().reshape(-1, 1, 1, 1)
        if self.rng.random() < 0.1:  # a dead channel
            weight[0] = 0
        return weight

    # --- activations ---

    def relu(self, x: Tensor) -> Tensor:
        """ReLU."""
        return self._call(aten.relu.default, (x.node,), x.shape)

    def clamp(self, x: Tensor) -> Tensor:
        """ReLU6, Hardtanh and clips anywhere."""
        size = 10 ** float(self.rng.uniform(-2, 2))
        low, high = self._pick((0.0, 6.0), (-1.0, 1.0), (0.0, size), (-size, size), (-size, None))
        return self._call(aten.clamp.default, (x.node, low, high), x.shape)

    def leaky(self, x: Tensor) -> Tensor:
        """Slopes of either sign, above 1 too."""
        slope = float(self._pick(0.05, 0.1, 0.2, 0.5, self.rng.uniform(-1.5, 1.5)))
        return self._call(aten.leaky_relu.default, (x.node, slope), x.shape)

    def prelu(self, x: Tensor) -> Tensor:
        """One slope, or one per channel."""
        count = self._pick(1, x.channels)
        low, high = np.sort(self.rng.uniform(-1.5, 1.5, 2))
        slopes = torch.from_numpy(self.rng.uniform(low, high, count)).float()
        return self._call(aten.prelu.default, (x.node, self._constant(slopes)), x.shape)

    # --- several inputs ---

    def add(self, x: Tensor) -> Tensor:
        """A sum or difference with an earlier tensor, or with a convolution of this one."""
        same = [t for t in self.tensors if t.shape == x.shape]
        other = same[int(self.rng.integers(len(same)))]
        if other is x and self.rng.random() < 0.8:
            other = self._same_size_conv(x)
        target = self._pick(aten.add.Tensor, aten.add.Tensor, aten.sub.Tensor)
        return self._call(target, (x.node, other.node), x.shape)

    def cat(self, x: Tensor) -> Tensor:
        """Two to seven tensors of one size."""
        fitting = [t for t in self.tensors if t.shape[1:] == x.shape[1:]]
        parts = [x] + [self._pick(*fitting) for _ in range(int(self._pick(1, 2, 3, 6)))]
        channels = sum(part.channels for part in parts)
        if not self._room(channels, x.height, x.width) or channels > 80:
            return self.relu(x)
        return self._call(aten.cat.default, ([p.node for p in parts], 1), (channels, *x.shape[1:]))

    def _same_size_conv(self, x: Tensor) -> Tensor:
        weight = self._weights(x.channels, x.channels, 1, 1)
        args = (x.node, self._constant(weight), None, [1, 1], [0, 0], [1, 1], 1)
        return self._call(aten.conv2d.default, args, x.shape)

    # --- moving values ---

    def slice(self, x: Tensor) -> Tensor:
        """Channels, rows or columns."""
        axis = int(self._pick(1, 1, 2, 3))
        size = x.shape[axis - 1]
        start = int(self.rng.integers(size))
        end = int(self.rng.integers(start + 1, size + 1))
        shape = list(x.shape)
        shape[axis - 1] = end - start
        args = (x.node, axis, start, end, 1)
        return self._call(aten.slice.Tensor, args, (shape[0], shape[1], shape[2]))

    def shuffle(self, x: Tensor) -> Tensor:
        """Depth to space or back, where it divides."""
        c, height, width = x.shape
        for block in (2, 3):
            if c % block**2 == 0:
                shape = (c // block**2, height * block, width * block)
                return self._call(depth_to_space, (x.node, block), shape)
        if height % 2 == 0 and width % 2 == 0:
            return self._call(space_to_depth, (x.node, 2), (4 * c, height // 2, width // 2))
        return self.conv(x, channels=4 * (c // 4 + 1), kernel=1)

    def nearest(self, x: Tensor) -> Tensor:
        """Whole factors."""
        factor = int(self._pick(2, 3))
        shape = (x.channels, x.height * factor, x.width * factor)
        if not self._room(*shape):
            return self.relu(x)
        factors = [float(factor)] * 2
        return self._call(aten.upsample_nearest2d.vec, (x.node, None, factors), shape)

    def max_pool(self, x: Tensor) -> Tensor:
        """Windows with and without padding."""
        return self._pool(aten.max_pool2d.default, x)

    def average_pool(self, x: Tensor) -> Tensor:
        """The zeros around the image count."""
        return self._pool(aten.avg_pool2d.default, x)

    def _pool(self, target: Any, x: Tensor) -> Tensor:
        size = int(self._pick(2, 3, 5, 7))
        padding = int(self._pick(0, size // 2))
        stride = int(self._pick(1, 2, size))
        if min(x.shape[1:]) + 2 * padding < size or stride > size:
            return self.relu(x)
        sides = [(side + 2 * padding - size) // stride + 1 for side in x.shape[1:]]
        args = (x.node, [size, size], [stride, stride], [padding, padding])
        return self._call(target, args, (x.channels, sides[0], sides[1]))

    def pad(self, x: Tensor) -> Tensor:
        """Zeros or reflections."""
        left, right, top, bottom = (int(n) for n in self.rng.integers(0, 3, 4))
        mode = "reflect" if min(x.shape[1:]) > 2 and self.rng.random() < 0.5 else "constant"
        value = 0.0 if mode == "constant" else None
        shape = (x.channels, x.height + top + bottom, x.width + left + right)
        args = (x.node, [left, right, top, bottom], mode, value)
        return self._call(aten.pad.default, args, shape)

    def constant(self, x: Tensor) -> Tensor:
        """A factor or an offset per channel."""
        values = self._constant(self._normal(1, x.channels, 1, 1))
        target = self._pick(aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor)
        return self._call(target, (x.node, values), x.shape)

    def attention(self, x: Tensor) -> Tensor:
        """Channel attention: mean, convolution, sigmoid, product."""
        gate = self.sigmoid(self._same_size_conv(self.mean(x)))
        return self._call(aten.mul.Tensor, (x.node, gate.node), x.shape)

    def swish(self, x: Tensor) -> Tensor:
        """x * sigmoid(x)."""
        return self._call(aten.mul.Tensor, (x.node, self.sigmoid(x).node), x.shape)

    # --- agree by their scales ---

    def mul(self, x: Tensor) -> Tensor:
        """Of two convolutions, of equal shape or one value per channel."""
        y = self._same_size_conv(x)
        return self._call(aten.mul.Tensor, (x.node, y.node), x.shape)

    def square(self, x: Tensor) -> Tensor:
        """x * x."""
        return self._call(aten.pow.Tensor_Scalar, (x.node, 2), x.shape)

    def sigmoid(self, x: Tensor) -> Tensor:
        """Logistic function."""
        return self._call(aten.sigmoid.default, (x.node,), x.shape)

    def tanh(self, x: Tensor) -> Tensor:
        """Hyperbolic tangent."""
        return self._call(aten.tanh.default, (x.node,), x.shape)

    def mean(self, x: Tensor) -> Tensor:
        """Over the whole image."""
        return self._call(aten.mean.dim, (x.node, [2, 3], True), (x.channels, 1, 1))

    def sqrt(self, x: Tensor) -> Tensor:
        """Of something positive."""
        return self._call(aten.sqrt.default, (self.relu(x).node,), x.shape)

    def bilinear(self, x: Tensor) -> Tensor:
        """To any size, or by a whole factor."""
        aligned = bool(self.rng.random() < 0.3)
        if not self._room(x.channels, max(40, 4 * x.height), max(40, 4 * x.width)):
            return self.relu(x)
        if self.rng.random() < 0.5:
            factor = int(self._pick(2, 3, 4))
            shape = (x.channels, x.height * factor, x.width * factor)
            args: tuple[Any, ...] = (x.node, None, aligned, [float(factor)] * 2)
        else:
            height, width = (int(n) for n in self.rng.integers(2, 40, 2))
            shape = (x.channels, height, width)
            args = (x.node, [height, width], aligned, None)
        return self._call(aten.upsample_bilinear2d.vec, args, shape)

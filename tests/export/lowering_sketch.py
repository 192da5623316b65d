"""Canonical graphs drawn by hand, a thousand times faster than tracing a module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgesr.graph import add_constant, aten, tidy
from edgesr.network import Network
from edgesr.targets import Forms

TFLITE_FLOAT = Forms(anchor="concat", clip="minmax", shuffle="depth_to_space", prelu="prelu")


class Sketch:
    """`s = Sketch(3); y = s.conv(s.x, 8); graph = s.done(s(aten.relu.default, y))`."""

    def __init__(self, channels: int = 3, seed: int = 0) -> None:
        self.module = fx.GraphModule(nn.Module(), fx.Graph())
        self.random = torch.Generator().manual_seed(seed)
        self.x = self.module.graph.placeholder("x")
        self.x.meta["val"] = torch.empty(1, channels, 96, 120, device="meta")
        self.widths = {self.x: channels}

    def __call__(self, target, *args) -> fx.Node:
        return self.module.graph.call_function(target, args)

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)

    def const(self, value: Tensor) -> fx.Node:
        return add_constant(self.module, value, "drawn")

    def conv(
        self,
        x,
        inputs,
        outputs,
        kernel=3,
        *,
        stride=1,
        padding=None,
        dilation=1,
        groups=1,
        bias=True,
    ) -> fx.Node:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = [k // 2 for k in kernel] if padding is None else padding
        weight = self.const(self.noise(outputs, inputs // groups, *kernel) / (9 * inputs) ** 0.5)
        offset = self.const(self.noise(outputs)) if bias else None
        return self(
            aten.conv2d.default,
            x,
            weight,
            offset,
            [stride] * 2,
            list(padding),
            [dilation] * 2,
            groups,
        )

    def done(self, output: fx.Node) -> fx.GraphModule:
        self.module.graph.output(output)
        return tidy(self.module)


def network(module: nn.Module, channels: int = 3, value_range: float = 1.0) -> Network:
    colour = "rgb" if channels == 3 else "y"
    return Network(module, "sketch", 3, colour, value_range, paper="Drawn by hand")


def count(graph: fx.GraphModule, *targets) -> int:
    return sum(node.target in targets for node in graph.graph.nodes)


def image(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def relative_difference(a, b) -> float:
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def run_file(path: Path, x) -> np.ndarray:
    """Run a TFLite file on an array of its own layout and type."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.asarray(x))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def run_nchw(path: Path, x: Tensor) -> Tensor:
    """Run a float TFLite file on an NCHW tensor."""
    result = run_file(path, x.permute(0, 2, 3, 1).contiguous().numpy())
    return torch.from_numpy(result).permute(0, 3, 1, 2)

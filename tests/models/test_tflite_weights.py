"""TFLite kernels read back: float and int8 files, wrong graphs, foreign operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from edgesr.errors import CheckpointError, UnsupportedError
from edgesr.models import create
from edgesr.models.intake import load
from edgesr.models.tflite_weights import run_tflite

NAME = "ncnet-x2"
OPS = schema.BuiltinOperator


class File:
    """Just enough of a writer to spell a chain of convolutions as Keras' converter does."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes = 3, []
        self.model.subgraphs, self.model.buffers = [self.graph], [schema.BufferT()]

    def tensor(self, shape: list[int], data: np.ndarray | None = None, scale: Any = None) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = shape, schema.TensorType.FLOAT32, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            tensor.type = {"float32": 0, "int8": 9, "int32": 2}[data.dtype.name]
            self.model.buffers.append(buffer)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.asarray(scale, np.float32)
            tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def op(self, code: int, inputs: list[int], channels: int, kind: int = 0, options: Any = None):
        if code not in [c.builtinCode for c in self.model.operatorCodes]:
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code
            entry.version = 1
            self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = [c.builtinCode for c in self.model.operatorCodes].index(code)
        operator.inputs, operator.outputs = inputs, [self.tensor([1, 1, 1, channels])]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)
        return operator.outputs[0]

    def conv(self, x: int, weight: np.ndarray, bias: np.ndarray, *, relu: bool) -> int:
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = int(relu)
        inputs = [x, self.tensor(list(weight.shape), weight), self.tensor([len(bias)], bias)]
        kind = schema.BuiltinOptions.Conv2DOptions
        return self.op(OPS.CONV_2D, inputs, len(bias), kind, options)

    def write(self, path: Path, x: int, y: int) -> None:
        self.graph.inputs, self.graph.outputs = [x], [y]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))


def published(module: nn.Module, path: Path, *, relu: bool = True, foreign: bool = False) -> None:
    """NCNet as its authors publish it: NHWC, 0..255, depth-to-space, one-hot anchor."""
    file = File()
    x = file.tensor([1, 1, 1, 3])
    state = [tensor.numpy() for tensor in module.state_dict().values()]
    last, block = len(state[-1]), 2
    to_depth = np.arange(last).reshape(3, block**2).T.flatten()
    one_hot = np.tile(np.eye(3, dtype=np.float32), (block**2, 1)).reshape(last, 1, 1, 3)
    anchor = file.conv(x, one_hot, np.zeros(last, np.float32), relu=False)
    y = x
    for index in range(0, len(state), 2):
        weight, bias = state[index].transpose(0, 2, 3, 1).copy(), state[index + 1] * 255
        final = index == len(state) - 2
        if final:
            weight, bias = weight[to_depth], bias[to_depth]
        y = file.conv(y, weight, bias, relu=relu and not final)
    if foreign:
        y = file.op(OPS.TANH, [y], last)
    y = file.op(OPS.ADD, [anchor, y], last, schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
    limit = file.tensor([], np.array(255, np.float32))
    options = schema.MaximumMinimumOptionsT()
    kind = schema.BuiltinOptions.MaximumMinimumOptions
    y = file.op(OPS.RELU, [file.op(OPS.MINIMUM, [y, limit], last, kind, options)], last)
    shuffle = schema.DepthToSpaceOptionsT()
    shuffle.blockSize = block
    y = file.op(OPS.DEPTH_TO_SPACE, [y], 3, schema.BuiltinOptions.DepthToSpaceOptions, shuffle)
    file.graph.tensors[y].shape = [1, block, block, 3]
    file.write(path, x, y)


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(3)
    return create(NAME).module.eval()


def test_kernels_come_back_bit_for_bit(module: nn.Module, tmp_path: Path):
    published(module, tmp_path / "ncnet.tflite")
    network = load(tmp_path / "ncnet.tflite")
    assert network.name == NAME and "compared with its output" in network.notes[0]
    for key, tensor in module.state_dict().items():
        # Biases went to 0..255 and back; kernels only moved.
        assert torch.allclose(network.module.state_dict()[key], tensor, rtol=1e-6, atol=0), key


def test_the_file_and_the_network_agree(module: nn.Module, tmp_path: Path, noise):
    path = tmp_path / "ncnet.tflite"
    published(module, path)
    network = load(path)
    with torch.inference_mode():
        x = torch.from_numpy(noise.astype(np.float32)).permute(2, 0, 1)[None] / 255
        ours = 255 * network.module(x)[0].permute(1, 2, 0).numpy()
    assert np.abs(run_tflite(path, noise[None])[0] - ours).max() < 0.01


def test_equal_shapes_with_another_graph_are_refused(module: nn.Module, tmp_path: Path):
    """Without its ReLUs the file has the same kernels and computes something else."""
    published(module, tmp_path / "linear.tflite", relu=False)
    with pytest.raises(CheckpointError, match="ncnet-x2 compute something else"):
        load(tmp_path / "linear.tflite")


def test_other_widths_and_foreign_operators(module: nn.Module, tmp_path: Path):
    published(module, tmp_path / "ncnet.tflite", foreign=True)
    with pytest.raises(UnsupportedError, match="operator TANH"):
        load(tmp_path / "ncnet.tflite")
    published(module, tmp_path / "ncnet.tflite")
    with pytest.raises(CheckpointError, match=r"\(32, 32, 32, 32, 32, 12, 12\).* none has these"):
        load(tmp_path / "ncnet.tflite", architecture="abpn")


def test_weights_that_are_not_finite(module: nn.Module, tmp_path: Path):
    module.state_dict()["body.1.bias"][0] = float("nan")
    published(module, tmp_path / "ncnet.tflite")
    with pytest.raises(CheckpointError, match="NaN"):
        load(tmp_path / "ncnet.tflite")

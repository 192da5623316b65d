"""Scales are decided once: the three files say the same numbers, and are read back to prove it."""

from dataclasses import dataclass

import numpy as np
import onnx as onnx_package
import openvino
import pytest
from edgesr.export import export
from edgesr.export.pipeline import prepare
from edgesr.export.tflite.reader import load as load_tflite
from edgesr.quantize import integer, quantize, store
from onnx import numpy_helper
from small_networks import C, Frame, body, conv, make, photo, prelu, quantized_once, randomize
from torch import nn

from edgesr.errors import UsageError
from edgesr.network import Network
from edgesr.runtime import open_session

SHAPE = (24, 40)
TARGETS = ("tflite", "onnx", "openvino")


@dataclass
class Found:
    """What a file says of a tensor."""

    scale: float
    zero_point: int
    """As an int8 code."""


def in_tflite(path):
    """Quantization of every int8 tensor, weights and scales of every convolution."""
    model = load_tflite(path)
    tensors, weights = {}, {}
    for tensor in model.subgraphs[0].tensors:
        name, quantization = tensor.name.decode(), tensor.quantization
        if quantization is None or quantization.scale is None:
            continue
        if name.endswith("_weight"):
            data = model.buffers[tensor.buffer].data.view(np.int8)
            weights[name.removesuffix("_weight")] = (np.sort(data), quantization.scale)
        elif len(quantization.scale) == 1 and not tensor.buffer:
            shift = 128 if tensor.type == 3 else 0  # uint8 ends
            found = Found(float(quantization.scale[0]), int(quantization.zeroPoint[0]) - shift)
            tensors[name.removesuffix("_codes")] = found
    return tensors, weights


def in_onnx(path):
    model = onnx_package.load(path)
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    tensors, weights = {}, {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = (known[name] for name in node.input[1:])
            owner = node.input[1].removesuffix(".scale")
            if node.input[0].endswith(".weight"):
                name = node.input[0].removesuffix(".weight")
                weights[name] = (np.sort(known[node.input[0]].ravel()), scale)
            elif node.input[1].endswith(".scale") and zero.dtype == np.uint8:
                tensors[owner] = Found(float(scale), int(zero) - 128)
    return tensors, weights


def in_openvino(path):
    """FakeQuantize spells a scale as a range; Convert and Multiply spell the others."""
    model = openvino.Core().read_model(path)
    tensors, weights = {}, {}
    for op in model.get_ordered_ops():
        inputs = [value.get_node() for value in op.input_values()]
        if op.get_type_name() == "FakeQuantize":
            name, ends = op.get_friendly_name(), (3, 4)  # floats out
            if not name.endswith(".real"):  # codes out: named by what reads them
                (reader,) = op.output(0).get_target_inputs()
                name, ends = reader.get_node().get_friendly_name(), (1, 2)
            low, high = (float(inputs[i].data.ravel()[0]) for i in ends)
            assert op.get_attributes()["levels"] == 256
            scale = (high - low) / 255
            tensors[name.removesuffix(".real")] = Found(scale, round(-low / scale) - 128)
        elif op.get_friendly_name().endswith(".weight_real"):
            values = inputs[0].input_value(0).get_node().data
            name = op.get_friendly_name().removesuffix(".weight_real")
            weights[name] = (np.sort(values.ravel()), inputs[1].data.ravel())
    return tensors, weights


READERS = {"tflite": in_tflite, "onnx": in_onnx, "openvino": in_openvino}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("name", "io"),
    [("residual", io) for io in ("uint8", "int8", "float")] + [("channel_attention", "uint8")],
)
def test_every_file_says_the_scales_of_the_graph(name, target, io, tmp_path):
    quantized = quantized_once(name)
    artifact = export(quantized, target=target, shape=SHAPE, out=tmp_path, io=io)
    assert artifact.manifest.precision == "int8"
    assert artifact.manifest.dtype == {"float": "float32"}.get(io, io)
    tensors, weights = READERS[target](artifact.path)
    known = quantized.activations
    named = [tensor for tensor in tensors if tensor in known]
    assert len(named) >= len(quantized.weights) - 1
    for tensor in named:
        assert tensors[tensor].scale == pytest.approx(known[tensor].scale, rel=1e-6)
        if target != "openvino":
            assert tensors[tensor].scale == known[tensor].scale
        assert tensors[tensor].zero_point == known[tensor].zero_point, tensor
    assert set(weights) == set(quantized.weights)
    for conv_name, integers in quantized.weights.items():
        values, scales = weights[conv_name]
        assert np.array_equal(values, np.sort(integers.weight.numpy().ravel()))
        assert np.array_equal(scales, integers.scale.numpy())


def test_every_file_and_end_gives_the_same_pixels(tmp_path):
    """LiteRT and ONNX Runtime: the reference's own; whatever the element type at the ends."""
    quantized = quantized_once("residual")
    image = photo(*SHAPE, seed=5)
    want = integer.run(quantized, image)
    for target in ("tflite", "onnx"):
        for io in ("uint8", "int8", "float"):
            out = tmp_path / target / io
            artifact = export(quantized, target=target, shape=SHAPE, out=out, io=io)
            assert np.array_equal(open_session(artifact.path).run(image), want), (target, io)


NETWORKS = {
    "prelu": lambda: make("prelu").module,
    "clip": lambda: nn.Sequential(
        conv(3, C), nn.Hardtanh(-0.4, 0.7), conv(C, 12), nn.PixelShuffle(2), nn.Hardtanh(0.0, 1.0)
    ),
    "global_skip": lambda: Frame(nn.Sequential(conv(C, C), nn.ReLU()), scale=3),
    "prelu_without_skip": lambda: nn.Sequential(
        conv(3, C), prelu(-0.1, 1.3), conv(C, 12), nn.PixelShuffle(2)
    ),
    "channel_attention": lambda: make("channel_attention").module,
    "leaky_residual": lambda: body(conv(C, C), nn.LeakyReLU(0.2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_every_kind_go_through_all_targets(name, tmp_path):
    """Collapse, lower, quantize, store, read, write, run: the recipe, from a stored file on."""
    module = randomize(NETWORKS[name]()).eval()
    scale = 3 if name == "global_skip" else 2
    lowered, plain, certificate = prepare(Network(module, name, scale))
    path = tmp_path / f"{name}.int8.safetensors"
    store.save(quantize(lowered, plain, [photo(96, 96)]), path)
    quantized = store.read(path)
    for target in TARGETS:
        manifest = export(quantized, target=target, shape=SHAPE, out=tmp_path).manifest
        assert manifest.parity["max_difference"] <= manifest.parity["tolerance"]
        if target == "tflite":
            assert manifest.parity["identical"] == 1.0
        assert manifest.network == name and manifest.rewrites == lowered.meta["rewrites"]
    assert certificate.exact


def test_options_that_contradict_a_quantized_graph(tmp_path):
    quantized = quantized_once("residual")
    with pytest.raises(UsageError, match="quantized to int8"):
        export(quantized, precision="fp32", shape=SHAPE, out=tmp_path)
    with pytest.raises(UsageError, match="calibration"):
        export(quantized, calibration=[photo(96, 96)], shape=SHAPE, out=tmp_path)
    assert not list(tmp_path.iterdir())

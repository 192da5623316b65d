"""int8 ONNX: the scales of the quantized graph, spelled as QDQ."""

from __future__ import annotations

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
import torch
from edgesr.export import onnx
from edgesr.export.lower import lower
from edgesr.quantize import integer, quantize
from onnx import TensorProto, numpy_helper

from edgesr import models
from edgesr.data.bicubic import imresize
from edgesr.errors import UsageError
from edgesr.graph import trace
from edgesr.runtime.ort import session_options
from edgesr.targets import INT8_FORMS


@pytest.fixture(scope="module")
def quantized():
    torch.manual_seed(0)
    network = models.create("plain-s-x3")
    return quantize(lower(trace(network), INT8_FORMS), network, [picture(96, 96)])


def picture(height, width):
    small = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return imresize(small, 4)


def run(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def initializers(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_scales_and_weights_read_back_equal(quantized, tmp_path):
    path = tmp_path / "plain.onnx"
    onnx.write(quantized, quantized.network, path, None, precision="int8")
    found = initializers(onnx_package.load(path))
    read = 0
    for name, params in quantized.activations.items():
        if f"{name}.scale" in found:
            assert float(found[f"{name}.scale"]) == params.scale
            assert int(found[f"{name}.zero_point"]) == params.zero_point + 128
            read += 1
    assert read >= len(quantized.weights)
    for name, weights in quantized.weights.items():
        assert np.array_equal(found[f"{name}.weight"], weights.weight.numpy())
        assert np.array_equal(found[f"{name}.weight_scale"], weights.scale.numpy())
        assert np.array_equal(found[f"{name}.bias"], weights.bias.numpy())
        source = next(n for n in quantized.graph.graph.nodes if n.name == name).args[0].name
        product = weights.scale.numpy() * np.float32(quantized.activations[source].scale)
        assert np.array_equal(found[f"{name}.bias_scale"], product)


@pytest.mark.parametrize("shape", [None, (24, 40)], ids=["dynamic", "fixed"])
def test_pixels_in_pixels_out(quantized, shape):
    model = onnx.build(quantized, quantized.network, shape, precision="int8")
    onnx_package.checker.check_model(model, full_check=True)
    for value in (model.graph.input[0], model.graph.output[0]):
        assert value.type.tensor_type.elem_type == TensorProto.UINT8
    image = picture(24, 40)
    found = run(model, image.transpose(2, 0, 1)[None])
    assert found.dtype == np.uint8 and found.shape == (1, 3, 72, 120)
    if shape is None:
        assert run(model, np.zeros((1, 3, 17, 9), np.uint8)).shape == (1, 3, 51, 27)


def test_every_io_type_carries_the_same_codes(quantized):
    image = picture(24, 40)
    pixels = image.transpose(2, 0, 1)[None]
    expected = integer.run(quantized, image).transpose(2, 0, 1)[None]
    scale = np.float32(1 / 255)

    def found(io, x):
        return run(onnx.build(quantized, quantized.network, None, precision="int8", io=io), x)

    first = found("uint8", pixels)
    signed = found("int8", (pixels.astype(np.int16) - 128).astype(np.int8))
    real = found("float32", pixels.astype(np.float32) * scale)
    assert signed.dtype == np.int8 and real.dtype == np.float32
    assert np.array_equal(signed.astype(np.int16) + 128, first)
    assert np.array_equal(real, first * scale)
    assert np.abs(first.astype(int) - expected).mean() < 0.01


def test_no_operator_between_float_and_codes_is_left_over(quantized):
    """Only what runtimes fuse: every Q follows a convolution, an addition or a ReLU."""
    model = onnx.build(quantized, quantized.network, None, precision="int8")
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert made_by[node.input[0]] in ("Conv", "Add", "Relu")
    kinds = {node.op_type for node in model.graph.node}
    assert "Clip" not in kinds, "saturation is the clip"


def test_unknown_io_is_refused(quantized):
    with pytest.raises(UsageError, match="float64"):
        onnx.build(quantized, quantized.network, None, precision="int8", io="float64")

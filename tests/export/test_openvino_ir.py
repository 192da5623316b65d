"""OpenVINO IR: two files, the same function; int8 close to the integer reference."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
import torch
from edgesr.export import openvino as writer
from edgesr.export.lower import lower
from edgesr.quantize import integer, quantize
from torch import nn

from edgesr import models
from edgesr.collapse import collapse
from edgesr.data.bicubic import imresize
from edgesr.data.datasets import calibration_samples
from edgesr.errors import EnvironmentLimitError
from edgesr.graph import trace
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.processor import saturates
from edgesr.runtime.ov import settings
from edgesr.targets import INT8_FORMS, find_target

FORMS = find_target("openvino").float_forms


def compiled(path):
    return openvino.Core().compile_model(path, "CPU", settings(1))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_any_size_gives_the_networks_output(precision, tmp_path):
    torch.manual_seed(0)
    network, _ = collapse(models.create("plain-s-x3"))
    path = tmp_path / "network.xml"
    written = writer.write(lower(network.module, FORMS), network, path, None, precision=precision)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.bin", "network.xml"]
    assert written.files == (path, path.with_suffix(".bin"))
    assert written.operators["Convolution"] == 7
    model = compiled(path)
    for height, width in ((40, 56), (33, 21)):
        x = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            expected = network.module(x).numpy()
        tolerance = 1e-5 if precision == "fp32" else 1e-2
        assert np.abs(model(x.numpy())[0] - expected).max() < tolerance


def test_int8_takes_and_gives_pixels_close_to_the_reference(tmp_path):
    torch.manual_seed(0)
    network = models.create("plain-s-x3")
    small = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    image = imresize(small, 4)
    quantized = quantize(lower(trace(network), INT8_FORMS), network, [image])
    path = tmp_path / "network.xml"
    writer.write(quantized, network, path, None, precision="int8")
    x = image[:40, :56]
    found = compiled(path)(x.transpose(2, 0, 1)[None])[0][0].transpose(1, 2, 0)
    expected = integer.run(quantized, np.ascontiguousarray(x))
    assert found.dtype == np.uint8
    assert np.mean(found == expected) > 0.98
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert apart.max() <= integer.tolerance(quantized, "openvino")
    assert np.mean(apart <= 1) > 0.95
    # Scales of weights (per channel) and activations are stored as they are, weights as int8.
    stored = [
        np.atleast_1d(op.data) for op in openvino.Core().read_model(path).get_ordered_ops()
        if op.get_type_name() == "Constant"
    ]  # fmt: skip
    for weights in quantized.weights.values():
        assert any(a.dtype == np.int8 and np.array_equal(a, weights.weight.numpy()) for a in stored)


class Residual(nn.Module):
    """A sum of which no operand is one-hot."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x):
        features = self.head(x).relu()
        return nn.functional.pixel_shuffle(self.body(features) + features, 2)


@pytest.mark.parametrize("name", ["plain-m-x2", "ncnet-x3", "residual"])
def test_no_rounding_before_a_sum_is_lost(name, tmp_path):
    """Left to the CPU plugin, a fifth of the codes differs."""
    torch.manual_seed(0)
    if name == "residual":
        network = Network(Residual().eval().requires_grad_(False), name, scale=2)
    else:
        network = collapse(load(name))[0]
    image = next(calibration_samples())[:120, :160]
    quantized = quantize(lower(trace(network), INT8_FORMS), network, [image])
    written = writer.write(quantized, network, tmp_path / "n.xml", None, precision="int8")
    y = compiled(tmp_path / "n.xml")(image.transpose(2, 0, 1)[None])[0][0].transpose(1, 2, 0)
    assert np.mean(y == integer.run(quantized, image)) > 0.98
    # The image's one-hot convolution is merged with the sum; nothing has to be spelled out.
    assert ("Round" in written.operators) == (name == "residual")


@pytest.mark.parametrize("shape", [(60, 80), None])
def test_floats_are_the_pixels_and_bytes_are_reordered(shape, tmp_path):
    network = collapse(load("plain-m-x3"))[0]
    image = next(calibration_samples())[:60, :80]
    quantized = quantize(lower(trace(network), INT8_FORMS), network, [image])
    path = tmp_path / "n.xml"
    writer.write(quantized, network, path, shape, precision="int8", io="float32")
    model = compiled(path)
    x = image.transpose(2, 0, 1)[None].astype(np.float32) / 255
    (y,) = model(x).values()
    assert "y" in model.outputs[0].names
    writer.write(quantized, network, tmp_path / "u.xml", shape, precision="int8")
    pixels = compiled(tmp_path / "u.xml")(image.transpose(2, 0, 1)[None])[0]
    assert np.abs(255 * y - pixels).max() < 1e-3
    layers = {
        op.get_friendly_name(): op.get_rt_info() for op in model.get_runtime_model().get_ops()
    }
    reordered = [
        info["runtimePrecision"].astype(str)
        for info in layers.values()
        if "layerType" in info and info["layerType"].astype(str) == "Reorder"
    ]
    assert reordered
    if not saturates():  # where int8 kernels do, all is computed in floats
        assert "f32" not in [kind.lower() for kind in reordered]


def test_a_folder_that_cannot_be_written(tmp_path):
    network = models.create("plain-s-x2")
    graph = quantize(lower(trace(network), INT8_FORMS), network, [np.zeros((8, 8, 3), np.uint8)])
    (tmp_path / "file").write_text("not a folder")
    path = tmp_path / "file" / "network.xml"
    with pytest.raises(EnvironmentLimitError, match="cannot write"):
        writer.write(graph, network, path, None, precision="int8")

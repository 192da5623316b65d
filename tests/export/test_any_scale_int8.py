"""int8 files of networks for any scale, the factors alike or not: the integer reference's codes."""

from __future__ import annotations

import warnings
from itertools import islice

import numpy as np
import pytest
import torch
from edgesr.export.pipeline import export, prepare
from edgesr.quantize import quantize

from edgesr.data.datasets import calibration_samples
from edgesr.models.arbsr import ArbPlain
from edgesr.network import Network
from edgesr.scales import period, scale_text

SCALES = [(2.2, 4.2), (3.1, 1.4)]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def quantized(scale):
    torch.manual_seed(0)
    module = ArbPlain(scale, channels=8, blocks=2, every=2).eval().requires_grad_(False)
    multiple = int(np.lcm(2, period(scale)))
    network = Network(module, f"arbsr-tiny-x{scale_text(scale)}", scale, pad_multiple=multiple)
    lowered, plain, certificate = prepare(network)
    assert certificate.exact
    photos = [photo[:64, :64] for photo in islice(calibration_samples(), 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # gradients must pass through the shuffle
        return quantize(lowered, plain, photos)


@pytest.mark.parametrize("scale", SCALES, ids=scale_text)
def test_every_runtime_has_the_codes_of_the_reference(scale, tmp_path):
    graph = quantized(scale)
    # ONNX for any size: the transpose of a rectangle's pixels reads the sizes from the image.
    for target, shape in (("tflite", (20, 30)), ("onnx", None), ("openvino", (20, 30))):
        parity = export(graph, target=target, shape=shape, out=tmp_path).manifest.parity
        assert parity["reference"] == "integer reference"
        assert parity["max_difference"] == 0 or target == "openvino"
        assert parity["identical"] >= 0.999, target

"""16-bit activations: LiteRT computes the reference's codes, and both are closer to float."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.export import export
from edgesr.quantize import integer, store
from edgesr.quantize.wide import widen
from small_networks import EXACT, difference, in_litert, photo, quantized_once

from edgesr.errors import UnsupportedError, UsageError
from edgesr.runtime import open_session

IMAGE = photo(36, 44, seed=9)
LOOSE = ("channel_attention", "contrast", "spatial_attention", "tanh_sigmoid", "average_pooling")
"""With operators that the reference computes in float and rounds."""
BY_NEAREST = ("leaky_relu", "leaky_relu_halves", "prelu_one_slope", "concat")
"""The same, one operator deep."""


@pytest.mark.parametrize("name", [name for name in EXACT if name not in LOOSE])
def test_litert_computes_the_same_codes(name, tmp_path):
    wide = widen(quantized_once(name))
    assert wide.precision == "int16x8"
    found, want = in_litert(wide, IMAGE, tmp_path), integer.run(wide, IMAGE)
    if name in BY_NEAREST:
        assert difference(found, want) <= 1 and np.mean(found != want) < 0.02
    else:
        assert np.array_equal(found, want)


@pytest.mark.parametrize("name", [name for name in LOOSE if name != "contrast"])
def test_other_operators_are_within_a_pixel_value(name, tmp_path):
    wide = widen(quantized_once(name))
    found, want = in_litert(wide, IMAGE, tmp_path), integer.run(wide, IMAGE)
    assert difference(found, want) <= 2 and np.mean(found != want) < 0.1


@pytest.mark.parametrize("name", ["plain", "residual", "pooling", "channel_attention"])
def test_sixteen_bits_are_closer_to_float_than_eight(name):
    """What is left is the rounding of weights: with those in float too, hardly anything."""
    narrow = quantized_once(name)
    wide = widen(narrow)
    x = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        exact = (narrow.graph(x)[0].permute(1, 2, 0).numpy() * 255).clip(0, 255)
    error = {
        bits: np.abs(integer.run(graph, IMAGE) - exact).mean()
        for bits, graph in ((8, narrow), (16, wide))
    }
    assert error[16] < error[8]
    for conv, weights in wide.weights.items():
        assert torch.equal(weights.weight, narrow.weights[conv].weight)
        assert weights.bias.dtype == torch.int64


def test_through_files(tmp_path):
    """Stored, read, written for LiteRT and ONNX Runtime with every kind of ends."""
    path = tmp_path / "wide.int8.safetensors"
    store.save(widen(quantized_once("residual")), path)
    wide = store.read(path)
    want = integer.run(wide, IMAGE)
    shape = IMAGE.shape[:2]
    for io in ("uint8", "int8", "float"):
        for target, close in (("tflite", 0), ("onnx", 1)):
            artifact = export(wide, target=target, shape=shape, io=io, out=tmp_path / io)
            assert artifact.manifest.precision == "int16x8"
            assert "int16x8" in artifact.path.name
            assert difference(open_session(artifact.path).run(IMAGE), want) <= close
    with pytest.raises(UnsupportedError, match="OpenVINO"):
        export(wide, target="openvino", shape=shape, out=tmp_path)


def test_what_cannot_be_widened():
    quantized = quantized_once("plain")
    with pytest.raises(UsageError, match="quantize it again"):
        widen(widen(quantized))
    islands = {k: v for k, v in quantized.activations.items() if k != "relu"}
    with pytest.raises(UsageError, match="quantize it again"):
        widen(replace(quantized, activations=islands))

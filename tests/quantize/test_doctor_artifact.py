"""An exported file is examined by its own integers, or by its pictures alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.export import export
from edgesr.export.pipeline import prepare
from edgesr.quantize import integer, quantize
from edgesr.quantize.doctor.artifact import examine_artifact, quantized_from_tflite
from edgesr.quantize.ptq import Recipe
from sick_networks import FIRST, found, healthy, quantized, sample, scaled
from small_networks import make, photo

from edgesr.errors import BadFileError, UsageError
from edgesr.graph import run_recording
from edgesr.manifest import read_manifest

PHOTOS = [photo(96, 96, seed) for seed in (1, 2)]
SHAPE = (40, 40)
QUICK = Recipe(rounding=False)


def write(network, folder, target="tflite", **options):
    shape = SHAPE if target == "tflite" else None
    options = {"precision": "int8", "shape": shape} | options
    return export(network, target=target, out=folder, **options).path


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    network = scaled(100, slice(3, 5), compensated=True)
    return network, write(quantized(network), tmp_path_factory.mktemp("sick"))


@pytest.mark.parametrize(
    ("name", "io"),
    [("prelu", "uint8"), ("concat", "int8"), ("depthwise", "uint8"), ("residual", "int8")],
)
def test_the_integers_in_the_file_are_read_back(tmp_path, name, io):
    """From the network alone, though the file's weights were equalized."""
    network = make(name)
    wanted = quantize(*prepare(network)[:2], PHOTOS, recipe=QUICK)
    path = write(wanted, tmp_path, io=io)
    got = quantized_from_tflite(path, network, read_manifest(path))
    assert got.activations == wanted.activations
    image = photo(32, 32, 9)
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    ours, theirs = (run_recording(graph.graph, x) for graph in (got, wanted))
    for conv, weights in wanted.weights.items():
        assert torch.equal(got.weights[conv].weight, weights.weight)
        assert torch.equal(got.weights[conv].scale, weights.scale)
        assert torch.equal(got.weights[conv].bias, weights.bias)
        # The float tensors, too, are those the codes stand for.
        error = (ours[conv] - theirs[conv]).abs().max()
        assert error < 0.05 * theirs[conv].abs().max(), conv
    assert np.array_equal(integer.run(got, image), integer.run(wanted, image))


def test_with_its_source_the_sick_layer_is_named(sick):
    network, path = sick
    diagnosis = examine_artifact(path, [sample()], source=network)
    assert diagnosis.findings[0].layer == FIRST and diagnosis.subject == str(path)


def test_a_quantized_graph_is_a_source_too(sick):
    diagnosis = examine_artifact(sick[1], [sample()], source=quantized(sick[0]))
    assert diagnosis.findings[0].layer == FIRST


def test_another_source_is_refused(sick):
    with pytest.raises(UsageError, match="was not exported from this source"):
        examine_artifact(sick[1], [sample()], source=make("plain"))


def test_alone_it_is_judged_by_its_pictures(sick):
    diagnosis = examine_artifact(sick[1], [sample()])
    assert diagnosis.layers == () and diagnosis.reference == "bicubic"
    assert "--source" in diagnosis.notes[0]
    (image,) = diagnosis.images
    assert image.against_float is None and image.int8_truth > 10 and image.bicubic_truth > 10
    assert diagnosis.output.highest_pixel == 255 and diagnosis.runtime.operators["CONV_2D"] > 3


def test_files_that_cannot_be_read_back_are_compared_with_the_float_source(tmp_path):
    network = healthy()
    path = write(quantized(network), tmp_path, "onnx")
    diagnosis = examine_artifact(path, [sample()], source=network)
    assert diagnosis.reference == "fp32" and diagnosis.images[0].against_float > 30
    assert not found(diagnosis, "tint")


def test_float_and_damaged_files_are_refused(tmp_path, sick):
    path = write(healthy(), tmp_path, precision="fp32")
    with pytest.raises(UsageError, match="is fp32"):
        examine_artifact(path, [sample()])
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(sick[1].read_bytes()[:2000])
    replace(read_manifest(sick[1]), artifact=broken.name).write_beside(broken)
    with pytest.raises(BadFileError):
        examine_artifact(broken, [sample()], source=healthy())

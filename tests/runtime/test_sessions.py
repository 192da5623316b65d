"""Every runtime computes what torch computes; broken files end in one sentence."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from math import isqrt

import numpy as np
import pytest
import torch

from edgesr.data import colour
from edgesr.errors import (
    BadFileError,
    EdgesrError,
    EnvironmentLimitError,
    UsageError,
)
from edgesr.manifest import read_manifest
from edgesr.models import create
from edgesr.runtime import RUNTIMES, NetworkSession, make_plan, open_session, plan_for, upscale

CASES = [
    ("tflite", "litert"),
    ("tflite", "litert-reference"),
    ("onnx", "ort"),
    ("onnx", "openvino"),
    ("openvino", "openvino"),
]
FLOAT_CASES = [*CASES, ("ncnn", "ncnn")]


def picture(rng, height: int, width: int):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("target", "runtime"), FLOAT_CASES)
@pytest.mark.parametrize("name", ["plain-s-x3", "espcn-x3"])
def test_float_artifacts_agree_with_torch(write, rng, target, runtime, name, seeded):
    path = write(name, target, "fp32", (40, 50))
    image = picture(rng, 40, 50)
    session = open_session(path, runtime=runtime)
    want = upscale(NetworkSession(seeded(name)), image).astype(int)
    got = upscale(session, image)
    assert got.shape == want.shape and got.dtype == np.uint8
    difference = np.abs(got - want)
    assert difference.max() <= 1 and np.mean(difference > 0) < 1e-3
    info = session.info()
    printed = "onnxruntime" if runtime == "ort" else runtime
    assert (info.runtime, info.threads) == (printed, 1) and info.version


@pytest.mark.parametrize(("target", "runtime"), CASES)
def test_int8_artifacts_run(write, rng, target, runtime, seeded):
    path = write("plain-s-x3", target, "int8", (40, 50))
    session = open_session(path, runtime=runtime)
    image = picture(rng, 40, 50)
    want = upscale(NetworkSession(seeded("plain-s-x3")), image).astype(int)
    error = session.run(image) - want
    assert np.sqrt(np.mean(error**2)) < 8


def test_the_reference_kernels_are_no_delegate(write):
    path = write("plain-s-x3", "tflite", "fp32", (40, 50))
    assert "XNNPACK" in open_session(path).info().delegate
    reference = open_session(path, runtime="litert-reference").info()
    assert reference.delegate == "reference kernels"


def test_infer_takes_the_artifacts_own_tensors(write):
    session = open_session(write("plain-s-x3", "onnx", "fp32"))
    out = session.infer(np.zeros((1, 3, 8, 9), np.float32))
    assert out.shape == (1, 3, 24, 27) and out.dtype == np.float32


# --- tiles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["plain-s-x3", "espcn-x3", "quicksrnet-small-x2"])
def test_torch_tiles_are_bit_identical(rng, name, threads, seeded):
    session = NetworkSession(seeded(name), threads)
    image = picture(rng, 190, 215)
    whole = upscale(session, image, tile=0)
    for tile in (24, 71, 130):
        assert len(plan_for(session, 190, 215, tile=tile)) > 1
        np.testing.assert_array_equal(upscale(session, image, tile=tile), whole)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["plain-s-x3", "ecbsr-m4c8-x2", "fsrcnn-x2"])
def test_torch_floats_do_not_depend_on_the_window(rng, name, threads, seeded):
    """Before any rounding to pixels: the smallest window against a larger one, bit for bit."""
    session = NetworkSession(seeded(name), threads)
    tiling, scale = session.tiling(), session.manifest.scale
    halo = tiling.halo
    side = max(isqrt(tiling.smallest_window) + 1, 2 * halo + 16)
    image = rng.random((1, side + 90, side + 70, session.network.channels), np.float32)
    whole = session.infer(image)
    part = session.infer(np.ascontiguousarray(image[:, 40 : 40 + side, 30 : 30 + side]))
    inner = slice(scale * halo, scale * (side - halo))
    moved = [slice(scale * (halo + start), scale * (start + side - halo)) for start in (40, 30)]
    np.testing.assert_array_equal(part[:, inner, inner], whole[:, moved[0], moved[1]])


@pytest.mark.parametrize(("target", "runtime"), [("onnx", "ort"), ("openvino", "openvino")])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_dynamic_tiles_are_bit_identical(write, rng, target, runtime, precision):
    session = open_session(write("plain-s-x3", target, precision), runtime=runtime)
    image = picture(rng, 97, 121)
    whole = upscale(session, image, tile=0)
    for tile in (5, 24, 71):
        assert plan_for(session, 97, 121, tile=tile).exact
        np.testing.assert_array_equal(upscale(session, image, tile=tile), whole)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("size", [(63, 75), (40, 75), (41, 101)])
def test_fixed_tiles_are_bit_identical(write, rng, precision, size):
    """The same net written for the whole image and for a small tile."""
    image = picture(rng, *size)
    small = open_session(write("plain-s-x3", "tflite", precision, (40, 50)))
    large = open_session(write("plain-s-x3", "tflite", precision, size))
    assert plan_for(small, *size).exact and len(plan_for(small, *size)) > 1
    np.testing.assert_array_equal(upscale(small, image), large.run(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (7, 3)])
def test_the_smallest_images(write, rng, size, seeded):
    image = picture(rng, *size)
    want = upscale(NetworkSession(seeded("plain-s-x3")), image)
    assert want.shape == (3 * size[0], 3 * size[1], 3)
    dynamic = upscale(open_session(write("plain-s-x3", "onnx")), image)
    assert np.abs(dynamic.astype(int) - want).max() <= 1
    fixed = open_session(write("plain-s-x3", "tflite", "fp32", (40, 50)))
    assert not plan_for(fixed, *size).exact
    assert upscale(fixed, image).shape == want.shape


def test_networks_with_global_pooling_say_so(rng, seeded):
    session = NetworkSession(seeded("imdn-x2"))
    assert session.tiling().halo is None
    plan = plan_for(session, 100, 120, tile=48)
    assert not plan.exact and "blend" in plan.why_inexact
    image = picture(rng, 100, 120)
    whole = upscale(session, image, tile=0).astype(int)
    assert np.abs(upscale(session, image, tile=48) - whole).mean() < 2
    assert upscale(session, image[:1, :1]).shape == (2, 2, 3)


def test_luma_networks_leave_chroma_to_bicubic(rng, seeded):
    image = picture(rng, 20, 24)
    session = NetworkSession(seeded("espcn-x3"))
    luma, chroma = colour.split(image)
    want = colour.join(session.run(luma), chroma)
    np.testing.assert_array_equal(upscale(session, image), want)


def test_memory_of_a_pixel_is_found_in_every_runtime(write, seeded):
    by_torch = NetworkSession(seeded("plain-s-x3")).tiling().bytes_per_pixel
    for target, runtime in FLOAT_CASES[2:]:
        session = open_session(write("plain-s-x3", target), runtime=runtime)
        assert 0.3 < session.tiling().bytes_per_pixel / by_torch < 3


def test_threads_are_set_for_the_inference_only(seeded):
    before = torch.get_num_threads()
    session = NetworkSession(seeded("plain-s-x3"), threads=before + 1)
    session.run(np.zeros((8, 8, 3), np.uint8))
    assert torch.get_num_threads() == before


def test_the_network_is_left_as_it_was():
    network = create("plain-s-x3")
    network.module.train()
    NetworkSession(network)
    assert network.module.training and next(network.module.parameters()).requires_grad


# --- refusals -----------------------------------------------------------------------------------


def copied(path, folder):
    """The artifact with all its files in another place."""
    for file in path.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / path.name


@pytest.fixture(params=["tflite", "onnx", "openvino", "ncnn"])
def artifact(request, write, tmp_path):
    return copied(write("plain-s-x3", request.param, "fp32", (40, 50)), tmp_path)


def rewrite(path, **changes):
    dataclasses.replace(read_manifest(path), **changes).write_beside(path)


def test_a_changed_file_is_refused(artifact):
    content = bytearray(artifact.read_bytes())
    content[len(content) // 2] ^= 1
    artifact.write_bytes(content)
    with pytest.raises(BadFileError, match="sha256"):
        open_session(artifact)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_its_runtime(artifact, share, capfd):
    content = artifact.read_bytes()
    artifact.write_bytes(content[: int(len(content) * share)])
    rewrite(artifact, sha256="")
    with pytest.raises(BadFileError, match="refused by"):
        open_session(artifact)


def test_noise_is_refused_by_its_runtime(artifact, rng):
    artifact.write_bytes(rng.bytes(5000))
    rewrite(artifact, sha256="")
    with pytest.raises(BadFileError, match="refused by"):
        open_session(artifact)


def test_a_manifest_of_another_file_is_refused(artifact):
    rewrite(artifact, height=41)
    with pytest.raises(BadFileError, match="its manifest says"):
        open_session(artifact)
    rewrite(artifact, height=40, dtype="uint8")
    with pytest.raises(BadFileError, match="its manifest says"):
        open_session(artifact)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": 0},
        {"scale": "3"},
        {"scale": 10**9},
        {"pad_multiple": 0},
        {"halo": -1},
        {"height": 40.0},
        {"colour": "cmyk"},
        {"value_range": 0},
        {"dtype": "object"},
        {"layout": None},
        {"layout": "HWC"},
    ],
)
def test_hostile_manifests_are_refused(write, tmp_path, rng, changes):
    path = copied(write("plain-s-x3", "onnx", "fp32", (40, 50)), tmp_path)
    rewrite(path, **changes)
    with pytest.raises(BadFileError) as caught:
        open_session(path).run(picture(rng, 40, 50))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"scale": 0.1, "zero_point": 256}, "input_quantization"),
        ({"scale": 0.1, "zero_point": -1}, "input_quantization"),
        ({"scale": 0.1, "zero_point": 1.5}, "input_quantization"),
        ({"scale": 0.0, "zero_point": 0}, "input_quantization"),
        ({"scale": float("inf"), "zero_point": 0}, "input_quantization"),
        ({"scale": float("nan"), "zero_point": 0}, "input_quantization"),
        ({"scale": "1", "zero_point": 0}, "input_quantization"),
        ({"scale": 0.1}, "lacks a field"),
        ([1, 2], "lacks a field"),
    ],
)
def test_quantization_out_of_range_is_refused(write, tmp_path, quantization, words):
    path = copied(write("plain-s-x3", "onnx", "fp32", (40, 50)), tmp_path)
    rewrite(path, dtype="uint8", input_quantization=quantization)
    with pytest.raises(BadFileError, match=words):
        open_session(path)


def test_a_wrong_scale_is_noticed(artifact, rng):
    rewrite(artifact, scale=2)
    with pytest.raises(BadFileError, match="puts out"):
        open_session(artifact).run(picture(rng, 40, 50))


@pytest.mark.parametrize("target", ["openvino", "ncnn"])
def test_weights_in_a_file_of_their_own_are_part_of_it(write, tmp_path, target):
    path = copied(write("plain-s-x3", target, "fp32", (40, 50)), tmp_path)
    weights = path.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BadFileError, match="sha256"):
        open_session(path)
    weights.unlink()
    with pytest.raises(BadFileError, match=r"no such file.*\.bin"):
        open_session(path)


def test_missing_files_and_manifests(artifact, tmp_path):
    with pytest.raises(BadFileError, match="no such file"):
        open_session(tmp_path / "gone.onnx")
    artifact.with_name(artifact.name + ".json").unlink()
    with pytest.raises(BadFileError, match="no manifest"):
        open_session(artifact)


def test_the_wrong_runtime_lists_those_that_fit(artifact):
    wrong = "openvino" if artifact.suffix == ".tflite" else "litert"
    fits = [name for name, r in RUNTIMES.items() if artifact.suffix in r.suffixes]
    with pytest.raises(UsageError) as caught:
        open_session(artifact, runtime=wrong)
    assert all(name in str(caught.value) for name in fits)
    with pytest.raises(UsageError, match="no runtime"):
        open_session(artifact, runtime="tensorrt")


def test_files_and_threads_that_make_no_sense(artifact, tmp_path):
    with pytest.raises(UsageError, match=r"\.onnx, \.param, \.tflite, \.xml"):
        open_session(tmp_path / "model.mlmodel")
    with pytest.raises(UsageError, match="threads"):
        open_session(artifact, threads=0)


@pytest.mark.parametrize(
    ("target", "package", "advice"),
    [
        ("tflite", "ai_edge_litert", "pip install ai-edge-litert"),
        ("onnx", "onnxruntime", "pip install onnxruntime"),
        ("openvino", "openvino", "pip install openvino"),
        ("ncnn", "ncnn", r"pip install 'edgesr\[ncnn\]'"),
    ],
)
def test_a_missing_package_is_named_with_its_cure(write, monkeypatch, target, package, advice):
    path = write("plain-s-x3", target, "fp32", (40, 50))
    monkeypatch.setattr("edgesr.runtime.litert.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentLimitError, match=advice):
        open_session(path)


def test_tflite_runtime_is_refused_with_numpy_2(write, monkeypatch):
    path = write("plain-s-x3", "tflite", "fp32", (40, 50))
    monkeypatch.setattr("edgesr.runtime.litert.find_spec", lambda name: object())
    monkeypatch.setattr("numpy.__version__", "2.1.0")
    with pytest.raises(EnvironmentLimitError, match="ai-edge-litert"):
        open_session(path, runtime="tflite-runtime")


def test_opening_is_silent(write, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_session(write("plain-s-x3", "tflite", "fp32", (40, 50)))
    captured = capfd.readouterr()
    assert captured.out == "" and "INFO" not in captured.err


def test_images_of_another_kind_are_refused(rng, seeded):
    session = NetworkSession(seeded("plain-s-x3"))
    for image in (picture(rng, 4, 4)[..., 0], picture(rng, 4, 4).astype(np.float32)):
        with pytest.raises(EdgesrError):
            upscale(session, image)
    with pytest.raises(UsageError):
        make_plan(4, 0, session.tiling())

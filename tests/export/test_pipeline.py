"""The recipe as a whole: files, manifest, proof, and what happens when the proof fails."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.export import export, verify, writers
from edgesr.quantize import QuantizedGraph
from torch import fx

from edgesr.errors import OutputExistsError, ParityError, UsageError
from edgesr.graph import add_constant, constant_of, is_call
from edgesr.manifest import read_manifest
from edgesr.models.intake import load
from edgesr.runtime import open_session

SHAPE = (40, 56)
FORMS = [(t, p) for t in ("tflite", "onnx", "openvino") for p in ("fp32", "fp16", "int8")]
FORMS += [("ncnn", "fp32"), ("ncnn", "fp16")]


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(2)]


def small(**options):
    return {"shape": SHAPE, "target": "tflite", "precision": "fp32"} | options


def listing(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(("target", "precision"), FORMS)
def test_every_form_is_checked_and_described(target, precision, tmp_path, photos):
    network = load("random:plain-s-x2")
    artifact = export(
        network, out=tmp_path, calibration=photos, **small(target=target, precision=precision)
    )
    manifest = read_manifest(artifact.path)
    assert manifest == artifact.manifest
    assert manifest.parity["max_difference"] <= manifest.parity["tolerance"]
    assert manifest.certificate["exact"]
    assert (manifest.receptive_field, manifest.halo) == (13, 6)
    assert manifest.macs == 40 * 56 * sum(p.numel() for n, p in weights_of(artifact, network))
    if precision == "int8":
        assert len(manifest.calibration["images"]) == len(photos)
    image = np.ascontiguousarray(photos[0][: SHAPE[0], : SHAPE[1]])
    assert open_session(artifact.path).run(image).shape == (80, 112, 3)


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_int8_is_split_if_asked_for(target, tmp_path, photos):
    """The same file as from `edgesr quantize ptq --split`, as exact as any."""
    network, options = load("random:sesr-m5-x2"), small(target=target, precision="int8")
    whole = export(network, out=tmp_path / "whole", calibration=photos, **options).manifest
    split = export(network, out=tmp_path / "split", calibration=photos, split=True, **options)
    assert split.manifest.calibration["recipe"]["split"]
    assert not whole.calibration["recipe"]["split"]
    assert split.manifest.operators != whole.operators
    if target != "openvino":
        assert split.manifest.parity["identical"] == 1.0


def weights_of(artifact, network):
    from edgesr.collapse import collapse

    plain, _ = collapse(network)
    return [(n, p) for n, p in plain.module.state_dict().items() if p.dim() == 4]


def test_one_set_of_scales_gives_the_same_pixels_in_litert_and_onnx_runtime(tmp_path, photos):
    network = load("plain-m-x3")
    image = np.ascontiguousarray(photos[0][: SHAPE[0], : SHAPE[1]])
    pixels = [
        open_session(
            export(network, out=tmp_path, **small(target=target, precision="int8")).path
        ).run(image)
        for target in ("tflite", "onnx")
    ]
    assert np.array_equal(*pixels)


def test_the_script_beside_the_file_repeats_the_check(tmp_path, photos):
    artifact = export(
        load("random:plain-s-x2"), out=tmp_path, calibration=photos, **small(precision="int8")
    )
    script = tmp_path / f"{artifact.path.name}.verify.py"
    good = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert good.returncode == 0 and "100.00 % identical" in good.stdout, good.stderr

    manifest = tmp_path / f"{artifact.path.name}.json"
    facts = json.loads(manifest.read_text())
    facts["parity"]["golden"]["samples"] = (
        facts["parity"]["golden"]["samples"][::-1].replace("=", "A")[:1364]
        + facts["parity"]["golden"]["samples"][1364:]
    )
    manifest.write_text(json.dumps(facts))
    bad = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert bad.returncode == 1 and "DIFFERS" in bad.stdout


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_wrong_file_is_not_kept_and_its_first_wrong_layer_is_named(
    precision, tmp_path, photos, monkeypatch
):
    """A writer that spoils the third convolution is found out, by name."""
    honest = writers.WRITERS["tflite"]

    def spoiled(graph, *args, **options):
        if isinstance(graph, QuantizedGraph):
            name = [n for n in graph.weights if "order" not in n][2:3]
            for key in name:
                good = graph.weights[key]
                graph = replace(
                    graph, weights=graph.weights | {key: replace(good, bias=good.bias + 4000)}
                )
            return honest(graph, *args, **options)
        return honest(with_spoiled_convolution(graph, 2), *args, **options)

    monkeypatch.setitem(writers.WRITERS, "tflite", spoiled)
    with pytest.raises(ParityError) as caught:
        export(
            load("random:plain-s-x2"),
            out=tmp_path,
            calibration=photos,
            **small(precision=precision),
        )
    assert "body.2" in str(caught.value), caught.value
    assert "Nothing was kept" in str(caught.value)
    assert listing(tmp_path) == []


def with_spoiled_convolution(graph: fx.GraphModule, index: int) -> fx.GraphModule:
    from copy import deepcopy

    copy = deepcopy(graph)
    convolutions = [n for n in copy.graph.nodes if is_call(n, torch.ops.aten.conv2d.default)]
    if len(convolutions) > index:
        node = convolutions[index]
        weight = constant_of(copy, node.args[1])
        with copy.graph.inserting_before(node):
            node.args = (node.args[0], add_constant(copy, weight * 1.5, "spoiled"), *node.args[2:])
        copy.recompile()
    return copy


def test_the_first_divergence_is_bisected_over_every_layer(tmp_path, photos, monkeypatch):
    network = load("random:plain-s-x2")
    found = []
    original = verify._first_divergence
    monkeypatch.setattr(
        verify, "_first_divergence", lambda *a: found.append(original(*a)) or found[-1]
    )
    monkeypatch.setitem(verify.FLOAT_TOLERANCE, "fp32", -1.0)
    with pytest.raises(ParityError):
        export(network, out=tmp_path, **small())
    assert "body.0" in found[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "toaster"}, "toaster"),
        ({"precision": "int4"}, "int4"),
        ({"io": "int16", "precision": "int8"}, "int16"),
        ({"shape": None}, "one input size"),
        ({"shape": (0, 8)}, "0x8"),
        ({"precision": "int8", "calibration": []}, "calibrat"),
        ({"split": True}, "is for fp32"),
        ({"split": True, "precision": "int16x8"}, "is for int16x8"),
    ],
)
def test_options_that_make_no_sense(options, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        export(load("random:plain-s-x2"), out=tmp_path, **small(**options))
    assert listing(tmp_path) == []


def test_an_input_smaller_than_the_pooling_windows(tmp_path):
    with pytest.raises(UsageError, match=r"8x8.*larger --shape"):
        export(load("random:rlfn-s-x4"), out=tmp_path, **small(shape=(8, 8)))
    assert listing(tmp_path) == []


def test_nothing_is_overwritten_unasked(tmp_path):
    network = load("random:plain-s-x2")
    first = export(network, out=tmp_path, **small())
    before = first.path.stat().st_mtime_ns
    with pytest.raises(OutputExistsError, match="--force"):
        export(network, out=tmp_path, **small())
    assert first.path.stat().st_mtime_ns == before
    export(network, out=tmp_path, force=True, **small())

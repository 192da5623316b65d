"""What ncnn would crash on is refused before it sees it; its arithmetic is the manifest's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgesr.errors import BadFileError
from edgesr.manifest import read_manifest
from edgesr.runtime import open_session, plan_for, upscale
from edgesr.runtime.ncnn_param import Layer, parse, shapes, text_of, weight_bytes


@pytest.fixture
def artifact(write, tmp_path):
    """A copy whose hash nobody checks: as if made by somebody else."""
    source = write("plain-s-x3", "ncnn")
    for file in source.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / source.name
    dataclasses.replace(read_manifest(path), sha256="").write_beside(path)
    return path


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("change", [-4, -1, 4, -(10**6)])
def test_weights_of_another_length_are_refused(artifact, change):
    weights = artifact.with_suffix(".bin")
    content = weights.read_bytes()
    weights.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(BadFileError, match="refused by its check"):
        open_session(artifact)


def test_weights_of_another_type_are_refused(artifact):
    weights = artifact.with_suffix(".bin")
    weights.write_bytes(b"\x47\x6b\x30\x01" + weights.read_bytes()[4:])  # as if in halves
    with pytest.raises(BadFileError, match=r"no tag|the layers read"):
        open_session(artifact)
    weights.write_bytes(b"\x01\x02\x03\x04" + weights.read_bytes()[4:])
    with pytest.raises(BadFileError, match="no tag"):
        open_session(artifact)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" 0=3 1=0\n", " 0=3 1=\n", "no layer"),
        (" 0=3 1=0\n", " 0=4 1=0\n", "blocks of 4"),
        (" 0=3 1=0\n", " 0=-3 1=0\n", "blocks of -3"),
        ("1 1 x.0 ", "1 1 x.1 ", "read twice"),
        ("1 1 x.0 ", "1 1 nowhere ", "not written before"),
        ("PixelShuffle", "Exec        ", "no layer of kind Exec"),
        (" y 0=3", " z 0=3", "no single image"),
        ("0=3 1=0\n", "0=3 1=0\nNoop n 0 0\n", "it announces"),
        (" 6=", " 6=1", "weights and has"),
        (" 3=1 ", " 3=0 ", "below its least"),
        ("2=3\n", "2=1\n", "its manifest says"),
        ("7767517", "7767518", "does not begin with"),
    ],
)
def test_a_hostile_file_is_one_sentence(artifact, old, new, words):
    edited(artifact, old, new)
    with pytest.raises(BadFileError, match=words) as caught:
        open_session(artifact)
    assert "\n" not in str(caught.value)


def test_a_file_cut_within_its_last_number_is_refused(artifact):
    artifact.write_text(artifact.read_text().rstrip("\n"))
    with pytest.raises(BadFileError, match="cut off"):
        open_session(artifact)


def test_the_arithmetic_is_the_manifests(write):
    for precision, half in (("fp32", False), ("fp16", True)):
        session = open_session(write("plain-s-x3", "ncnn", precision))
        options = session._net.opt
        assert options.use_fp16_storage == options.use_fp16_arithmetic == half
        assert not options.use_bf16_storage


def test_arrays_of_any_order_in_memory(write, rng):
    """ncnn keeps the pointer of what it is given, not the array."""
    session = open_session(write("plain-s-x3", "ncnn"))
    x = rng.random((1, 3, 20, 24), np.float32)
    want = session.infer(x)
    turned = np.ascontiguousarray(x.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(session.infer(turned), want)
    np.testing.assert_array_equal(session.infer(np.asfortranarray(x)), want)


def test_tiles_say_that_they_round_apart(write, rng):
    session = open_session(write("plain-s-x3", "ncnn"))
    image = rng.integers(0, 256, (97, 121, 3), np.uint8)
    assert plan_for(session, 97, 121, tile=0).exact
    plan = plan_for(session, 97, 121, tile=24)
    assert not plan.exact and "Winograd" in plan.why_inexact and plan.ramp == (0, 0)
    apart = np.abs(upscale(session, image, tile=24).astype(int) - upscale(session, image, tile=0))
    assert apart.max() <= 1 and np.mean(apart > 0) < 1e-3


def test_threads_that_spin_are_told_of(write, monkeypatch):
    path = write("plain-s-x3", "ncnn")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert "GOMP_SPINCOUNT=0" in open_session(path, threads=2).info().notes[0]
    assert open_session(path).info().notes == ()
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    assert open_session(path, threads=2).info().notes == ()


def test_text_and_layers_are_the_same_thing():
    layers = [
        Layer("Input", "x", (), ("x",), {0: 8, 1: 6, 2: 3}),
        Layer("Crop", "cut", ("x",), ("cut",), {9: (0,), 10: (-1,), 11: (1,)}),
        Layer("Clip", "clip", ("cut",), ("y",), {0: -0.5, 1: 3.402823466e38}),
    ]
    assert parse(text_of(layers)) == layers
    found = shapes(layers, 6, 8)
    assert found == {"x": (3, 6, 8), "cut": (3, 5, 8), "y": (3, 5, 8)}
    assert weight_bytes(layers, found, b"") == 0

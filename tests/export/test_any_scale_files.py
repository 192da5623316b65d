"""Files of networks for any scale: one per scale, one with the scale as input, one with signatures.

The networks are narrow, their wiring is the real one.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from edgesr.export import export
from edgesr.export.any_scale import CHECKED, build, export_any_scale, run
from edgesr.export.lower import lower
from edgesr.export.scales import export_scales
from edgesr.export.tables import write_down
from edgesr.export.tflite import operator_list, write
from lowering_sketch import relative_difference, run_nchw

from edgesr.collapse import collapse
from edgesr.data.datasets import calibration_samples
from edgesr.errors import ParityError, UnsupportedError, UsageError
from edgesr.models.arbsr import ArbPlain
from edgesr.models.mdsr import MDSR
from edgesr.models.metasr import MetaPlain
from edgesr.network import Network
from edgesr.runtime import open_session, upscale
from edgesr.runtime.torch_session import NetworkSession
from edgesr.runtime.upscale import plan_for
from edgesr.scales import factors, period, scale_text
from edgesr.targets import find_target


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def arb(scale, kind=ArbPlain, name="arbsr-tiny"):
    torch.manual_seed(0)
    options = {"every": 1} if kind is ArbPlain else {}
    module = kind(scale, channels=8, blocks=2, **options).eval().requires_grad_(False)
    multiple = int(np.lcm(2, period(scale)))
    return Network(module, f"{name}-x{scale_text(scale)}", scale, pad_multiple=multiple)


def meta(scale):
    return arb(scale, MetaPlain, "metasr-tiny")


FOLDED = [2, (1.5, 1.5), (2.2, 1.5)]


@pytest.mark.parametrize(
    ("make", "scale"),
    [*((arb, scale) for scale in FOLDED), (meta, (1.5, 1.5))],
    ids=lambda value: value.__name__ if callable(value) else scale_text(value),
)
def test_tflite_equals_torch(make, scale, tmp_path):
    """The file has convolutions and one shuffle where the network has tables and samples."""
    network = make(scale)
    side = 2 * network.pad_multiple
    x = torch.rand(1, 3, 2 * side, side)
    want = network.module(x)
    plain, certificate = collapse(network)
    assert certificate.exact and "reparameterized by its own modules" in certificate.notes
    path = tmp_path / "net.tflite"
    write(lower(plain.module, find_target("tflite").forms("fp32")), plain, path, 2 * side, side)
    assert relative_difference(run_nchw(path, x), want) <= 1e-5
    names = operator_list(path)
    square = len(set(factors(scale))) == 1
    assert names.count("DEPTH_TO_SPACE" if square else "TRANSPOSE") == 1
    assert "GATHER" not in names


@pytest.mark.parametrize("scale", [(2.35, 2.35), (1.73, 2.91)], ids=scale_text)
def test_a_scale_of_large_numbers_becomes_tables(scale, tmp_path):
    """The file has gathers where the network computes places; borders included."""
    network = arb(scale)
    x = torch.rand(1, 3, 100, 100)
    assert not network.module.folds()
    path = export(network, target="tflite", shape=(100, 100), out=tmp_path).path
    assert relative_difference(run_nchw(path, x), network.module(x)) <= 1e-5
    assert operator_list(path).count("GATHER") == 6


def test_large_photos_through_tables_show_no_seam(tmp_path):
    """Tiles start where the pattern of places does, so that blending them is all that is lost."""
    network = arb((2.35, 2.35))
    path = export(network, target="tflite", shape=(60, 80), out=tmp_path).path
    photo = calibration_photo()[:131, :190]
    session = open_session(path)
    plan = plan_for(session, *photo.shape[:2])
    assert len(plan) == 9 and min(plan.ramp) > 0 and "9 tiles blend" in plan.why_inexact
    tiled = upscale(session, photo)
    assert tiled.shape == (308, 446, 3)
    whole = upscale(NetworkSession(network), photo, tile=0)
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def calibration_photo():
    return next(image for image in calibration_samples() if min(image.shape[:2]) >= 190)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"precision": "int8"}, UnsupportedError, "every 20 input pixels.*no int8 form.*halves"),
        ({"target": "ethos-u65-512"}, UnsupportedError, r"no NPU runs.*\(halves\)"),
        ({"target": "onnx", "shape": None}, UsageError, "--shape HEIGHTxWIDTH.*--scale any"),
        ({"shape": (21, 40)}, UsageError, "takes sides that divide by 20, not 21x40"),
    ],
    ids=["int8", "npu", "any-size", "odd"],
)
def test_where_tables_do_not_serve_it_says_why(options, error, words, tmp_path, monkeypatch):
    monkeypatch.setattr("edgesr.export.pipeline.COMPILERS", {"vela": SimpleNamespace(require=int)})
    options = {"target": "tflite", "shape": (20, 20), **options}
    with pytest.raises(error, match=f"(?s){words}"):
        export(arb((2.35, 2.35)), out=tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_scale_is_an_input(target, tmp_path):
    written = export_any_scale(arb(2), target=target, out=tmp_path)
    assert set(written.differences) == set(CHECKED)
    assert max(written.differences.values()) <= 1e-5
    # Where the sizes come out fractional they are rounded as in torch.
    x = np.random.default_rng(0).random((1, 3, 10, 14), np.float32)
    assert run(written.path, x, (1.25, 1.33)).shape == (1, 3, 12, 19)


def test_meta_sr_takes_the_scale_as_input(tmp_path):
    written = export_any_scale(meta(2), out=tmp_path)
    assert written.path.name == "metasr-tiny-any.onnx"
    assert len(written.differences) == 5 and max(written.differences.values()) <= 1e-5


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    model = build(arb(2))
    tail = next(t for t in model.graph.initializer if t.dims == [3, 8, 3, 3])
    weights = onnx.numpy_helper.to_array(tail) * 1.01
    tail.CopyFrom(onnx.numpy_helper.from_array(weights, tail.name))
    monkeypatch.setattr("edgesr.export.any_scale.build", lambda network: model)
    with pytest.raises(ParityError, match="differs from torch at x"):
        export_any_scale(arb(2), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_take_the_scale_says_why(tmp_path):
    with pytest.raises(UsageError, match="written for onnx and openvino"):
        export_any_scale(arb(2), target="tflite", out=tmp_path)
    plain = Network(MDSR(2, 8, 1).eval(), "mdsr-tiny-x2", 2)
    with pytest.raises(UsageError, match="made for one scale"):
        export_any_scale(plain, out=tmp_path)


def mdsr(scale):
    torch.manual_seed(0)
    module = MDSR(scale, channels=8, blocks=3).eval().requires_grad_(False)
    return Network(module, f"mdsr-tiny-x{scale}-random", scale, value_range=255.0)


def test_one_file_with_a_signature_per_scale(tmp_path):
    """What the scales share is stored once; every signature is its own network."""
    from ai_edge_litert.interpreter import Interpreter

    merged = export_scales([mdsr(2), mdsr(3)], shape=(16, 24), out=tmp_path)
    assert merged.path.name == "mdsr-tiny-random-x2+x3_fp32_16x24.tflite"
    assert merged.signatures == ("x2", "x3") and merged.size < 0.95 * merged.apart
    interpreter = Interpreter(model_path=str(merged.path), num_threads=1)
    assert set(interpreter.get_signature_list()) == {"x2", "x3"}
    x = torch.rand(1, 3, 16, 24) * 255
    for scale in (2, 3):
        runner = interpreter.get_signature_runner(f"x{scale}")
        got = runner(x=x.permute(0, 2, 3, 1).numpy())["y"]
        want = mdsr(scale).module(x).permute(0, 2, 3, 1).numpy()
        assert np.abs(got - want).max() <= 1e-4 * 255
    with pytest.raises(UsageError, match="each once"):
        export_scales([mdsr(2), mdsr(2)], shape=(16, 24), out=tmp_path)


def test_meta_sr_has_larger_tables_and_too_large_ones_are_refused(tmp_path, monkeypatch):
    network = meta((2.35, 2.35))
    plain, _ = collapse(network)
    graph = lower(write_down(plain, (20, 40)), find_target("tflite").forms("fp32"))
    write(graph, plain, tmp_path / "net.tflite", 20, 40)
    x = torch.rand(1, 3, 20, 40)
    got = run_nchw(tmp_path / "net.tflite", x)
    assert relative_difference(got, network.module(x)) <= 1e-5
    monkeypatch.setattr("edgesr.export.tables.LARGEST", 1000)
    with pytest.raises(UnsupportedError, match=r"would take .* MiB.*smaller --shape"):
        write_down(plain, (20, 40))

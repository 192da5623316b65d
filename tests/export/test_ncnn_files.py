"""ncnn files: what they compute, in ncnn itself; what cannot be written, in one sentence."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from edgesr.export import export
from edgesr.export.lower import depth_to_space, lower, space_to_depth
from edgesr.export.ncnn import write
from edgesr.quantize import quantize
from hypothesis import HealthCheck, given, note, reject, settings
from hypothesis import strategies as st
from lowering_sketch import Sketch, image, network
from torch import nn
from torch.nn import functional as F

from edgesr.collapse import collapse
from edgesr.errors import UnsupportedError, UsageError
from edgesr.graph import aten, shapes, trace
from edgesr.manifest import Manifest
from edgesr.models import create
from edgesr.models.enlarge import rectangle_to_space
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.runtime import open_session
from edgesr.runtime.ncnn import NcnnSession
from edgesr.targets import INT8_FORMS, find_target

FORMS = find_target("ncnn").float_forms
SIZES = ((40, 56), (33, 21))


def opened(path, subject, shape=None, precision="fp32"):
    height, width = shape or (None, None)
    manifest = Manifest(
        network=subject.name, artifact=path.name, target="ncnn", precision=precision,
        scale=subject.scale, colour=subject.colour, value_range=subject.value_range,
        layout="NCHW", dtype="float32", height=height, width=width,
        pad_multiple=subject.pad_multiple,
    )  # fmt: skip
    return NcnnSession(path, manifest, 1)


def apart(session, module, x):
    """Largest difference from torch, as a share of the largest value."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        expected = module(x).numpy()
    found = session.infer(x.numpy())
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


# --- whole networks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["plain-s-x3", "ncnet-x3", "abpn-x3", "xlsr-x3", "fsrcnn-x2", "espcn-x3", "sesr-m3-x2",
     "quicksrnet-small-x2", "rlfn-s-x2", "mzsr-x2"],
)  # fmt: skip
def test_any_size_gives_the_networks_output(name, tmp_path):
    """PReLU (FSRCNN, SESR), attention with pooling and a resize (RLFN), groups (XLSR)."""
    torch.manual_seed(0)
    plain, _ = collapse(create(name), allow_border=True)
    path = tmp_path / "network.ncnn.param"
    written = write(lower(plain.module, FORMS), plain, path, None)
    assert written.files == (path, tmp_path / "network.ncnn.bin")
    session = opened(path, plain)
    for height, width in SIZES:
        x = torch.rand(1, plain.channels, height, width) * plain.value_range
        assert apart(session, plain.module, x) < 2e-5


def test_prelu_and_channel_attention(tmp_path):
    """Contrast (IMDN): the mean of squares, a root, gates on one number per channel."""

    class Contrast(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.squeeze = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
            self.act, self.excite = nn.PReLU(8), nn.Conv2d(4, 8, 1)
            self.act.weight.data.uniform_(-0.3, 0.3)
            self.tail = nn.Conv2d(8, 12, 3, padding=1)

        def forward(self, x):
            y = self.act(self.head(x))
            mean = y.mean((2, 3), keepdim=True)
            spread = (y - mean).pow(2).mean((2, 3), keepdim=True).sqrt()
            y = y * torch.sigmoid(self.excite(F.relu(self.squeeze(mean + spread))))
            return F.pixel_shuffle(self.tail(y), 2).clamp(0.0, 1.0)

    torch.manual_seed(0)
    subject = Network(Contrast().eval(), "contrast", 2)
    path = tmp_path / "network.ncnn.param"
    written = write(lower(trace(subject), FORMS), subject, path, None)
    assert written.operators["PReLU"] == 1 and written.operators["Pooling"] == 2
    assert apart(opened(path, subject), subject.module, torch.rand(1, 3, 24, 40)) < 1e-5


def test_a_plain_network_is_convolutions_and_five_other_layers(tmp_path):
    """ReLUs are written into the convolutions before them."""
    torch.manual_seed(0)
    plain, _ = collapse(create("plain-s-x3"))
    path = tmp_path / "network.ncnn.param"
    written = write(lower(plain.module, FORMS), plain, path, (24, 40))
    others = {k: v for k, v in written.operators.items() if k != "Convolution"}
    assert others == {"BinaryOp": 1, "Clip": 1, "PixelShuffle": 1, "Split": 1}
    assert " 0=40 1=24 2=3\n" in path.read_text()


def test_half_precision_halves_the_file_and_is_close(tmp_path):
    torch.manual_seed(0)
    plain, _ = collapse(create("plain-s-x3"))
    graph, sizes = lower(plain.module, FORMS), {}
    for precision in ("fp32", "fp16"):
        path = tmp_path / f"{precision}.ncnn.param"
        sizes[precision] = write(graph, plain, path, None, precision=precision).files[1].stat()
        session = opened(path, plain, precision=precision)
        difference = apart(session, plain.module, torch.rand(1, 3, 33, 40))
        assert difference < {"fp32": 1e-5, "fp16": 1e-2}[precision]
    assert sizes["fp16"].st_size < 0.52 * sizes["fp32"].st_size


def test_an_artifact_is_proved_and_its_script_repeats_that(tmp_path):
    artifact = export(load("random:plain-s-x2"), target="ncnn", out=tmp_path, shape=(32, 40))
    assert artifact.path.name == "plain-s-x2-random_fp32_32x40.ncnn.param"
    parity = artifact.manifest.parity
    assert parity["runtime"].startswith("ncnn") and parity["max_difference"] < 1e-5
    pixels = open_session(artifact.path).run(np.zeros((32, 40, 3), np.uint8))
    assert pixels.shape == (64, 80, 3)
    script = tmp_path / f"{artifact.path.name}.verify.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0 and "ok" in done.stdout, done.stderr


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_integers_are_refused_with_the_reason(precision, tmp_path):
    with pytest.raises(UsageError, match=r"no zero point.*--target tflite or onnx"):
        export(load("random:plain-s-x2"), target="ncnn", precision=precision, out=tmp_path)


def test_a_quantized_graph_is_refused(tmp_path):
    subject = create("plain-s-x2")
    graph = quantize(lower(trace(subject), INT8_FORMS), subject, [np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(UsageError, match="no zero point"):
        export(graph, target="ncnn", out=tmp_path)
    with pytest.raises(UnsupportedError, match="quantized"):
        write(graph, subject, tmp_path / "x.ncnn.param", None)


def strange(kind):
    s = Sketch(3)
    y = s.conv(s.x, 3, 12)
    if kind == "operator":
        return s.done(s(aten.special_bessel_j0.default, y))
    if kind == "steps":
        return s.done(s(aten.slice.Tensor, y, 2, 0, 2**63 - 1, 2))
    if kind == "power":
        return s.done(s(aten.pow.Tensor_Scalar, y, 3))
    if kind == "ceil":
        return s.done(s(aten.max_pool2d.default, y, [3, 3], [2, 2], [1, 1], [1, 1], True))
    if kind == "factor":
        return s.done(s(aten.upsample_nearest2d.vec, y, None, [1.7, 1.7]))
    height = s(aten.sym_size.int, s.x, 2)
    return s.done(s(aten.upsample_bilinear2d.vec, y, [height, height], False, None))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("operator", "no layer that computes it"), ("steps", "takes no steps"),
     ("power", "not 3"), ("ceil", "ceil_mode"), ("factor", "by the sides"),
     ("size", "give --shape")],
)  # fmt: skip
def test_what_ncnn_cannot_say_is_one_sentence_with_a_way_out(kind, words, tmp_path):
    graph = strange(kind)
    with pytest.raises(UnsupportedError, match=words) as caught:
        write(graph, network(graph), tmp_path / "x.ncnn.param", None)
    assert "layer `" in str(caught.value) and "--target tflite or onnx" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# --- random graphs --------------------------------------------------------------------------

POINTWISE = (
    "relu", "leaky", "prelu", "clamp", "open_clamp", "sigmoid", "tanh", "swish", "square", "shift",
    "reversed", "quotient", "scale", "image", "residual", "mask", "spatial_mask", "extreme",
)  # fmt: skip
SHAPING = (
    "group", "stride", "dilate", "narrow", "halves", "pool", "average", "pad", "nearest",
    "bilinear", "like", "shuffle", "shuffle_dcr", "unshuffle", "unshuffle_dcr", "rectangle",
    "transposed", "rows",
)  # fmt: skip


@st.composite
def graphs(draw):
    """A chain of layers, some of which read an earlier map again."""
    s = Sketch(3, seed=draw(st.integers(0, 99)))
    first = s.conv(s.x, 3, 12, bias=draw(st.booleans()))
    node, width = first, 12
    for step in draw(st.lists(st.sampled_from(POINTWISE + SHAPING), min_size=1, max_size=5)):
        node, width = apply(s, step, node, width)
    return s.done(node)


def apply(s, step, y, width):
    call, noise = s, s.noise
    row = (1, width, 1, 1)
    if step in SHAPING:
        return shape(s, step, y, width)
    mean = call(aten.mean.dim, y, [2, 3], True) if step == "mask" else None
    made = {
        "relu": lambda: call(aten.relu.default, y),
        "leaky": lambda: call(aten.leaky_relu.default, y, 0.1),
        "prelu": lambda: call(aten.prelu.default, y, s.const(noise(width))),
        "clamp": lambda: call(aten.clamp.default, y, -0.5, 0.8),
        "open_clamp": lambda: call(aten.clamp.default, y, -0.5, None),
        "sigmoid": lambda: call(aten.sigmoid.default, y),
        "tanh": lambda: call(aten.tanh.default, y),
        "swish": lambda: call(aten.mul.Tensor, y, call(aten.sigmoid.default, y)),
        "square": lambda: call(aten.pow.Tensor_Scalar, call(aten.tanh.default, y), 2),
        "shift": lambda: call(aten.sub.Tensor, y, 0.3),
        "reversed": lambda: call(aten.sub.Tensor, s.const(torch.tensor(0.3)), y),
        "quotient": lambda: call(aten.div.Tensor, y, s.const(1 + noise(*row).abs())),
        "scale": lambda: call(aten.mul.Tensor, s.const(noise(*row)), y),
        "image": lambda: call(aten.add.Tensor, y, s.conv(y, width, width, 1)),
        "residual": lambda: call(aten.add.Tensor, y, s.conv(y, width, width)),
        "mask": lambda: call(aten.mul.Tensor, y, call(aten.sigmoid.default, mean)),
        "spatial_mask": lambda: call(aten.mul.Tensor, s.conv(y, width, 1), y),
        "extreme": lambda: call(aten.maximum.default, y, s.conv(y, width, width, 1)),
    }  # fmt: skip
    return made[step](), width


def shape(s, step, y, width):
    call = s
    narrow = s.conv(y, width, 8, 1) if "shuffle" in step or step == "rectangle" else None
    half = s.const(s.noise(width, 5, 3, 3) / width**0.5)
    made = {
        "group": lambda: (s.conv(y, width, 8, groups=2 if width % 2 == 0 else 1), 8),
        "stride": lambda: (s.conv(y, width, 6, (3, 5), stride=2), 6),
        "dilate": lambda: (s.conv(y, width, 6, dilation=2, padding=[2, 2]), 6),
        "narrow": lambda: (call(aten.slice.Tensor, y, 1, width // 2, width, 1), width - width // 2),
        "halves": lambda: (
            call(aten.cat.default, [call(aten.slice.Tensor, y, 1, -1, 2**63 - 1, 1), y, y], 1),
            2 * width + 1,
        ),
        "pool": lambda: (call(aten.max_pool2d.default, y, [3, 2], [2, 1], [1, 0]), width),
        "average": lambda: (call(aten.avg_pool2d.default, y, [2, 3], [2, 2], [0, 1]), width),
        "pad": lambda: (call(aten.pad.default, y, [1, 2, 0, 1], "reflect", None), width),
        "nearest": lambda: (call(aten.upsample_nearest2d.vec, y, None, [3.0, 2.0]), width),
        "bilinear": lambda: (
            call(aten.upsample_bilinear2d.vec, y, None, False, [2.0, 2.0]), width,
        ),
        "like": lambda: (like(s, y, width), width),
        "shuffle": lambda: (call(aten.pixel_shuffle.default, narrow, 2), 2),
        "shuffle_dcr": lambda: (call(depth_to_space, narrow, 2), 2),
        "rectangle": lambda: (call(rectangle_to_space, narrow, 2, 4), 1),
        "unshuffle": lambda: (call(aten.pixel_unshuffle.default, doubled(s, y), 2), 4 * width),
        "unshuffle_dcr": lambda: (call(space_to_depth, doubled(s, y), 2), 4 * width),
        "transposed": lambda: (
            call(aten.conv_transpose2d.input, y, half, None, [3, 2], [1, 0], [1, 1], 1, [1, 1]), 5,
        ),
        "rows": lambda: (
            call(aten.cat.default, [call(aten.slice.Tensor, y, 2, -1, 2**63 - 1, 1), y], 2), width,
        ),
    }  # fmt: skip
    return made[step]()


def doubled(s, y):
    return s(aten.upsample_nearest2d.vec, y, None, [2.0, 2.0])


def like(s, y, width):
    """Small, and back to the size of the map it came from."""
    size = [s(aten.sym_size.int, y, axis) for axis in (2, 3)]
    small = s(aten.max_pool2d.default, y, [2, 2], [2, 2])
    return s(aten.upsample_bilinear2d.vec, small, size, False, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ncnn")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=graphs(), fixed=st.booleans(), height=st.integers(12, 19), width=st.integers(12, 19))
def test_every_graph_that_is_written_computes_what_torch_does(graph, fixed, height, width, folder):
    note(str(graph.graph))
    try:
        shapes(graph, height, width)
    except RuntimeError:  # halved so often that torch cannot pad it either
        reject()
    subject = network(graph)
    path = folder / "random.ncnn.param"
    size = (height, width) if fixed else None
    write(graph, subject, path, size)
    assert apart(opened(path, subject, size), graph, image(3, height, width)) < 1e-4

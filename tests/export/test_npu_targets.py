"""NPUs as targets: depth-to-space by rows is the same codes; what compilers say is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.export import export, npu
from edgesr.export.compile import COMPILERS, Compiled, DeviceError, Placement
from edgesr.export.lower import depth_to_space, lower
from edgesr.export.lower.ops import stack_rows
from edgesr.export.tflite import operator_counts, write
from edgesr.export.tflite.rows import by_rows
from edgesr.quantize import quantize
from torch import nn

from edgesr.cli.export import describe_compiled
from edgesr.collapse import collapse
from edgesr.errors import ParityError, UnsupportedError, UsageError
from edgesr.manifest import read_manifest
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.targets import INT8_FORMS, find_target, target_names

SHAPE = (24, 40)
VELA = "Vela is not installed: pip install 'edgesr[npu]'"


def noise(*size):
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return load("random:plain-s-x3")


class Reused(nn.Module):
    """The shuffled map is read once more, and half of it comes from elsewhere."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 1)

    def forward(self, x):
        features = torch.relu(self.first(x))
        return nn.functional.pixel_shuffle(features * torch.sigmoid(self.last(features)), 2)


def quantized(network):
    plain, _ = collapse(network)
    return quantize(lower(plain.module, INT8_FORMS), plain, [noise(48, 48, 3)]), plain


def run(path, image):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    "name",
    ["plain-s-x2", "plain-s-x3", "ncnet-x3", "quicksrnet-small-x4", "sesr-m5-x2", "fsrcnn-x3", ""],
)
def test_by_rows_is_the_same_codes_without_depth_to_space(name, tmp_path):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    source = load(f"random:{name}") if name else Network(Reused().eval(), "reused", 2)
    graph, plain = quantized(source)
    image = (noise(1, *SHAPE, plain.channels).astype(np.int16) - 128).astype(np.int8)
    outputs, counts = [], []
    for shuffle in ("codes", "rows"):
        path = tmp_path / f"{shuffle}.tflite"
        write(graph, plain, path, *SHAPE, io="int8", shuffle=shuffle)
        outputs.append(run(path, image))
        counts.append(operator_counts(path))
    assert np.array_equal(*outputs)
    assert len(np.unique(outputs[0])) > 1
    assert "DEPTH_TO_SPACE" in counts[0] and "DEPTH_TO_SPACE" not in counts[1]
    assert counts[1]["RESHAPE"] == counts[0]["DEPTH_TO_SPACE"]


def test_by_rows_parts_convolutions_and_copies_the_skip_once(network):
    graph, _ = quantized(network)
    parted = by_rows(graph, *SHAPE)
    assert len(parted.weights) >= len(graph.weights)
    widths = sorted(w.weight.shape[0] for w in parted.weights.values() if w.weight.shape[0] == 9)
    calls = [n for n in parted.graph.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    before = [n for n in graph.graph.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    # The last convolution became three, the skip's one-hot convolution one of a third the size.
    assert widths == [9] * 4 and len(calls) == len(before) + 2
    x = torch.rand(1, 3, *SHAPE)
    assert torch.allclose(parted.graph(x), graph.graph(x), atol=1e-6)


def test_stack_rows_undoes_what_by_rows_does():
    x = torch.arange(2 * 18 * 4 * 5).reshape(2, 18, 4, 5).float()
    wide = torch.cat(torch.chunk(x, 3, dim=1), dim=3)
    assert torch.equal(stack_rows(wide, 3), depth_to_space(x, 3))


def test_targets_of_npus_are_int8_of_one_size(tmp_path, network):
    names = [name for name in target_names() if find_target(name).compiler]
    assert {"ethos-u55-256", "ethos-u65-512", "ethos-u85-2048", "rk3588", "hexagon-v73"} <= {*names}
    for name in names:
        target = find_target(name)
        assert target.precisions == ("int8",) and not target.dynamic
        assert target.compiler in COMPILERS and target.chip
    with pytest.raises(UsageError, match="not written in `fp32`"):
        export(network, target="rk3588", precision="fp32", shape=SHAPE, out=tmp_path)
    with pytest.raises(UsageError, match="one input size"):
        export(network, target="rk3588", out=tmp_path)


class Fake:
    """A compiler whose answers are given."""

    def __init__(self, placement, spoil=lambda codes: codes):
        self.placement, self.spoil = placement, spoil

    def require(self):
        return "fake 1.0"

    def compile_file(self, artifact, chip, folder, golden=None):
        from edgesr.runtime import open_session

        binary = folder / f"{artifact.stem}.bin"
        binary.write_bytes(b"binary")
        output = self.spoil(open_session(artifact).infer(golden).astype(np.int16))
        estimate = {"cycles": 7}
        return Compiled(
            "fake 1.0", chip, "emulated", (binary,), self.placement, estimate, output=output
        )


def exported(tmp_path, network, **options):
    return export(
        network, target="rk3588", shape=SHAPE, out=tmp_path, calibration=[noise(48, 48, 3)],
        **options,
    )  # fmt: skip


def test_what_the_compiler_said_is_in_the_manifest(tmp_path, network, monkeypatch):
    monkeypatch.setitem(COMPILERS, "rknn", Fake(Placement.of(7, ("DepthToSpace",))))
    artifact = exported(tmp_path, network)
    name = "plain-s-x3-random_int8_24x40_rk3588"
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        f"{name}.bin", f"{name}.onnx", f"{name}.onnx.json", f"{name}.onnx.verify.py",
    ]  # fmt: skip
    compiled = read_manifest(artifact.path).compiled
    assert (compiled["label"], compiled["files"]) == ("emulated", [f"{name}.bin"])
    assert compiled["parity"]["identical"] == 1.0 and compiled["parity"]["psnr"] is None
    text = "\n".join(describe_compiled(compiled))
    assert "left on the CPU, not in any estimate: DepthToSpace" in text
    assert "estimate: 7 cycles" in text and "100 % identical" in text
    assert "all on the NPU" in "\n".join(
        describe_compiled(compiled | {"placement": {"on_cpu": [], "full": True}})
    )


def test_operators_on_the_cpu_can_be_forbidden(tmp_path, network, monkeypatch):
    monkeypatch.setitem(COMPILERS, "rknn", Fake(Placement.of(7, ("DepthToSpace",))))
    with pytest.raises(UnsupportedError, match="rk3588 leaves DepthToSpace of `plain-s-x3-random`"):
        exported(tmp_path, network, require_full=True)
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(COMPILERS, "rknn", Fake(Placement.of(8, ())))
    exported(tmp_path, network, require_full=True)


def test_a_simulator_that_computes_something_else_fails(tmp_path, network, monkeypatch):
    swapped = Fake(Placement.of(8, ()), lambda codes: codes[:, ::-1])
    monkeypatch.setitem(COMPILERS, "rknn", swapped)
    monkeypatch.setattr(npu, "LEAST_PSNR", 60.0)
    with pytest.raises(ParityError, match=r"simulator of rk3588 is \d+\.\d dB"):
        exported(tmp_path, network)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("ethos-u65-512", r"pip install 'edgesr\[npu\]'"),
        ("rk3588", "edgesr devices --install rknn"),
        ("hexagon-v73", "edgesr devices --install qnn"),
    ],
)
def test_a_missing_compiler_names_the_command(target, command, tmp_path, network, monkeypatch):
    monkeypatch.setenv("EDGESR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("edgesr.export.compile.vela.find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=command):
        export(network, target=target, shape=SHAPE, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["ethos-u55-256", "ethos-u65-512", "ethos-u85-512"])
def test_vela_takes_everything(name, tmp_path, network):
    pytest.importorskip("ethosu.vela", reason=VELA)
    artifact = export(
        network, target=name, shape=SHAPE, out=tmp_path, calibration=[noise(48, 48, 3)],
        require_full=True,
    )  # fmt: skip
    manifest = artifact.manifest
    assert (manifest.precision, manifest.dtype, manifest.target) == ("int8", "int8", name)
    assert manifest.parity["max_difference"] == 0
    assert manifest.compiled["placement"]["full"] and manifest.compiled["label"] == "estimate"
    assert manifest.compiled["estimate"]["ms"] > 0
    (binary,) = manifest.compiled["files"]
    assert b"OperatorCode" not in (tmp_path / binary).read_bytes()[:64]
    assert operator_counts(tmp_path / binary).keys() == {"CUSTOM"}


@pytest.mark.parametrize(("target", "tool"), [("rk3588", "rknn"), ("hexagon-v73", "qnn")])
def test_the_vendors_own_tools(target, tool, tmp_path, network):
    try:
        COMPILERS[tool].require()
    except DeviceError as error:
        pytest.skip(str(error))
    artifact = export(
        network, target=target, shape=SHAPE, out=tmp_path, calibration=[noise(48, 48, 3)]
    )
    compiled = artifact.manifest.compiled
    assert compiled["label"] == "emulated" and compiled["files"]
    assert all((tmp_path / name).stat().st_size > 500 for name in compiled["files"])
    assert compiled["parity"]["max_lsb"] <= 8
    assert set(compiled["placement"]["on_cpu"]) <= {"DepthToSpace"}


def test_a_quantized_file_goes_to_an_npu_as_it_is(tmp_path, network, monkeypatch):
    monkeypatch.setitem(COMPILERS, "rknn", Fake(Placement.of(8, ())))
    graph, _ = quantized(network)
    artifact = export(graph, target="rk3588", shape=SHAPE, out=tmp_path)
    assert artifact.manifest.parity["max_difference"] == 0
    wide = replace(
        graph, activations={n: replace(p, bits=16) for n, p in graph.activations.items()}
    )
    with pytest.raises(UsageError, match="not written in `int16x8`"):
        export(wide, target="rk3588", shape=SHAPE, out=tmp_path)

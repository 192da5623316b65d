"""What quantizers are handed is the network; files run and confess; failing tools keep a row."""

import json
import subprocess

import numpy as np
import pytest
import torch
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.peers import environments
from edgesr.benchmarks.peers.quantizers import command, compare, handover, speed
from edgesr.benchmarks.peers.quantizers.compare import OURS, QUANTIZERS, Quantizer
from edgesr.benchmarks.peers.quantizers.files import float_operators, open_file
from edgesr.benchmarks.subjects import SUBJECTS, Subject
from edgesr.export import export
from edgesr.export.lower import lower

from edgesr.collapse import collapse
from edgesr.data.datasets import Dataset
from edgesr.data.images import ImageFile, write_image
from edgesr.errors import BadFileError
from edgesr.models.registry import create
from edgesr.runtime import NetworkSession
from edgesr.targets import find_target

TINY = Subject("plain-d3c16-x2", "plain")
FORMATS = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}


@pytest.fixture
def network():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = create("plain-s-x2")
    for parameter in made.module.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    made.module.eval().requires_grad_(False)
    return made


@pytest.fixture
def data(tmp_path, scene):
    path = tmp_path / "scene.png"
    write_image(ImageFile(scene), path)
    return Dataset("tiny", (path,))


@pytest.fixture
def prepared(monkeypatch, network):
    monkeypatch.setattr(compare, "load_subject", lambda *_: network)


@pytest.fixture
def light(monkeypatch):
    """Without the files that tools read; torch takes its time over ONNX."""

    def only_photos(network, photos, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in handover.FILES:
            (folder / name).write_bytes(b"".join(photo.tobytes() for photo in photos))

    monkeypatch.setattr(compare, "hand_over", only_photos)


def rebuilt(folder, x):
    """The handed graph, run the way the TensorFlow script reads it, with torch's operators."""
    constants = np.load(folder / "graph.npz")
    known = {"x": x}

    def argument(value):
        if isinstance(value, list):
            return [argument(item) for item in value]
        if isinstance(value, dict):
            return (
                known[value["node"]]
                if "node" in value
                else torch.from_numpy(constants[value["constant"]])
            )
        return value

    nodes = json.loads((folder / "graph.json").read_text())
    for node in nodes:
        target = torch.ops
        for part in node["op"].split("."):
            target = getattr(target, part)
        known[node["name"]] = target(*(argument(a) for a in node["args"]))
    return known[nodes[-1]["name"]]


@pytest.mark.parametrize(
    "name", ["plain-s-x2", "xlsr-x3", pytest.param("imdn-x4", marks=pytest.mark.slow)]
)
def test_the_handed_graph_is_the_network(name, noise, tmp_path):
    torch.manual_seed(0)
    network = create(name)
    network.module.eval().requires_grad_(False)
    plain, _ = collapse(network)
    handover._write_graph(lower(plain.module, find_target("tflite").forms("fp32")), tmp_path)
    x = torch.from_numpy(noise).permute(2, 0, 1)[None].float() / 255 * network.value_range
    expected = network.module(x).clamp(0, network.value_range)
    assert torch.allclose(rebuilt(tmp_path, x), expected, atol=1e-3 * network.value_range)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_files_run_on_images_of_any_size(target, precision, network, noise, scene, tmp_path):
    shape = noise.shape[:2] if target == "tflite" else None
    artifact = export(
        network, target=target, precision=precision, shape=shape, out=tmp_path, calibration=[scene]
    )
    run = open_file(artifact.path, 1.0) if precision == "fp32" or target == "tflite" else None
    if run is not None:
        gap = np.abs(run(scene).astype(int) - NetworkSession(network).run(scene))
        assert gap.max() <= (1 if precision == "fp32" else 16)
    left = float_operators(artifact.path)
    assert bool(left) == (precision == "fp32")


def test_a_tool_in_our_own_environment(prepared, network, data, scene, tmp_path):
    tools = [q for q in QUANTIZERS if q.name == "onnxruntime u8s8"]
    photos = [scene, scene[::-1].copy()]
    rows = compare.compare(
        TINY, tools, [data], photos, [], environments=None, work=tmp_path / "work"
    )
    folder = tmp_path / "work" / TINY.name
    assert np.load(folder / "calibration.npy").shape == (2, *scene.shape)
    assert [row["tool"] for row in rows] == [OURS, "onnxruntime u8s8"]
    assert all(row["against_fp32"] > 30 and row["images"] == ["scene"] for row in rows)
    assert rows[1]["versions"]["onnxruntime"]
    again = compare.compare(
        TINY, tools, [data], photos, rows, environments=None, work=tmp_path / "work"
    )
    assert [row["date"] for row in again] == [row["date"] for row in rows]


def test_rows_are_measured_again_when_the_photos_change(prepared, light, data, scene, tmp_path):
    first = compare.compare(TINY, [], [data], [scene], [], environments=None, work=tmp_path)
    second = compare.compare(
        TINY, [], [data], [255 - scene], first, environments=None, work=tmp_path
    )
    assert first[0]["made_from"] != second[0]["made_from"]


def test_a_tool_that_fails_keeps_its_row(prepared, light, data, scene, tmp_path):
    missing = Quantizer("nncf", environments.NNCF, "by_nncf.py", ".xml", "default")
    broken = Quantizer("onnxruntime", None, "by_onnxruntime.py", ".onnx", "u8s8")
    rows = compare.compare(
        TINY, [missing, broken], [data], [scene], [], environments=None, work=tmp_path
    )
    assert "--cache" in rows[1]["error"] and "ModelProto" in rows[2]["error"]
    text = command.markdown(command._document([row | {"network": "plain-m-x3"} for row in rows], 1))
    assert "ModelProto" in text and "| edgesr |" in text


def test_memory_is_not_filled_by_deep_networks(prepared, light, data, scene, tmp_path):
    hoarder = Quantizer("onnxruntime entropy", None, "by_onnxruntime.py", ".onnx", "entropy", True)
    deep = Subject(TINY.name, "deep")
    rows = compare.compare(deep, [hoarder], [data], [scene], [], environments=None, work=tmp_path)
    assert [row["tool"] for row in rows] == [OURS]


def test_a_tool_that_hangs_keeps_its_row(prepared, light, data, scene, tmp_path, monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("by_onnxruntime.py", 1800)

    monkeypatch.setattr(compare.subprocess, "run", hang)
    rows = compare.compare(
        TINY, QUANTIZERS[:1], [data], [scene], [], environments=None, work=tmp_path
    )
    assert "timed out" in rows[1]["error"]


def test_better_than_ours_is_bold():
    def row(tool, drop, fidelity):
        return {
            "network": "plain-m-x3", "set": "set14", "tool": tool, "fp32": 30.0, "mean": 30 - drop,
            "drop": drop, "against_fp32": fidelity, "float_operators": {"Add": 2}, "seconds": 1.0,
            "date": "2026-01-02", "versions": {"x": "1"},
        }  # fmt: skip

    rows = [row(OURS, 0.02, 50.0), row("nncf", 0.01, 49.0), row("tensorflow", 0.03, 51.0)]
    text = command.markdown(command._document(rows, 12))
    assert "| **0.010** | 49.0 | 2 Add |" in text and "| 0.030 | **51.0** |" in text


def test_every_listed_network_and_script_exists():
    assert set(command.NETWORKS) <= {subject.name for subject in SUBJECTS}
    for quantizer in QUANTIZERS:
        assert (compare._HERE / quantizer.script).is_file()
        if quantizer.peer is not None:
            needs = environments._HERE / "requirements" / f"{quantizer.peer.name}.txt"
            assert needs.is_file()


def test_the_command_names_its_networks(tmp_path, capsys):
    out = str(tmp_path / "r.json")
    asked = ["--networks", "nonesuch", "--work", str(tmp_path), "--sets", "samples", "--out", out]
    assert command.main(asked) == 2
    assert "plain-m-x3" in capsys.readouterr().err


def test_speed_stands_beside_ours_in_the_same_runtime(
    prepared, network, scene, tmp_path, monkeypatch
):
    work = tmp_path / "work"
    folder = work / TINY.name
    folder.mkdir(parents=True)
    monkeypatch.setattr(speed, "load", lambda _: network)
    with pytest.raises(BadFileError, match="comparison of quality first"):
        speed.compare([TINY.name], work, 16, 24, Plan(runs=1, warm_up=0, turn=1))
    made = export(network, target="onnx", precision="fp32", out=tmp_path / "theirs")
    made.path.rename(folder / "onnxruntime-u8s8.onnx")
    rows = speed.compare([TINY.name], work, 16, 24, Plan(runs=2, warm_up=0, turn=1))
    assert [(row["tool"], row["runtime"]) for row in rows[-1:]] == [("onnxruntime u8s8", "ort")]
    assert {(row["runtime"], row["ends"]) for row in rows if row["tool"] == OURS} == {
        (runtime, ends)
        for runtime in ("litert", "ort", "openvino")
        for ends in ("float32", "uint8")
    }
    assert all(len(row["samples"]) == 2 for row in rows)


def test_a_file_faster_than_ours_is_bold():
    def row(tool, samples, ends="float32"):
        return {"network": "n", "runtime": "ort", "tool": tool, "ends": ends, "samples": samples}

    text = speed.markdown(
        [row(OURS, [10.0]), row(OURS, [8.0], "uint8"), row("a", [9.0]), row("b", [20.0])]
    )
    assert "**0.90**" in text and "2.00" in text and "**0.80**" not in text

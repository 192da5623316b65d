"""MNN's script, run with its tools replaced by ones that note what they are asked for."""

import ast
import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from edgesr.benchmarks.peers import exchange, runtimes
from PIL import Image

from edgesr.models.registry import create

SCRIPT = runtimes._HERE / "run_mnn.py"
TOOLS = """
import ctypes, json, pathlib

def mnnconvert(given):
    option = dict(zip(given[1::2], given[2::2]))
    ctypes.CDLL(None).puts(b"chatter that C writes out at exit")
    if "--JsonFile" in option:
        ops = [("Input", 0), ("Convolution", 1), ("ReLU6", 2), ("ConvertTensor", 3)]
        net = {"oplists": [{"type": t, "outputIndexes": [i]} for t, i in ops]}
        if pathlib.Path(option["--modelFile"]).read_text() == "int8":
            net["extraTensorDescribe"] = [{"index": 1}]
        pathlib.Path(option["--JsonFile"]).write_text(json.dumps(net))
    else:
        assert pathlib.Path(option["--modelFile"]).stat().st_size > 1000
        pathlib.Path(option["--MNNModel"]).write_text("fp32")

def mnnquant(given):
    name, plain, out, settings = given
    assert pathlib.Path(plain).read_text() == "fp32"
    pathlib.Path(out).write_text("int8")
"""


@pytest.fixture
def photos(rng):
    return [rng.integers(0, 256, (24, 40, 3), np.uint8) for _ in range(2)]


@pytest.fixture
def folder(tmp_path, photos, monkeypatch):
    """An exchange folder without the ONNX files, which MNN's script leaves alone."""
    monkeypatch.setattr(exchange, "_write_onnx", lambda *_: None)
    exchange.write_exchange(create("plain-s-x2"), photos, tmp_path, 24, 40)
    return tmp_path


def test_the_script_answers_on_its_own_line_and_hands_our_photos_over(folder, photos):
    (folder / "_tools.py").write_text(TOOLS)
    (folder / "MNN-3.dist-info").mkdir()
    (folder / "MNN-3.dist-info" / "METADATA").write_text("Name: MNN\nVersion: 3\n")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "convert", str(folder), str(folder / "out.mnn"), "int8-ema"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert "chatter" in done.stderr
    assert told["operators"] == {"Input": 1, "Convolution": 1, "ReLU6": 1, "ConvertTensor": 1}
    assert told["left"] == {"ReLU6": 1}
    assert told["versions"]["MNN"] == "3" and told["seconds"] > 0
    settings = json.loads((folder / "out.json").read_text())
    assert (settings["width"], settings["height"], settings["used_image_num"]) == (40, 24, 2)
    assert settings["feature_quantize_method"] == "EMA" and settings["winogradOpt"] is False
    for index, photo in enumerate(photos):
        assert np.array_equal(Image.open(folder / "photos" / f"{index}.png"), photo)


def test_tools_that_end_without_a_file_are_noticed(folder, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setitem(sys.modules, "_tools", SimpleNamespace(mnnconvert=lambda _given: None))
    monkeypatch.setattr("torch.set_num_threads", lambda _count: None)
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: None)
    script = importlib.import_module("run_mnn")
    (folder / "out.mnn").write_text("from an earlier run")
    with pytest.raises(SystemExit, match="without a file"):
        script.convert(folder, folder / "out.mnn", "fp32")


def test_mnns_own_tools_are_never_imported():
    """They run pip and send usage data."""
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {
        f"{n.module}.{alias.name}"
        for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names
    }  # fmt: skip
    assert {"_tools", "MNN.expr", "MNN.nn"} <= names
    assert not [name for name in names if name.startswith(("MNN.tools", "edgesr"))]
    assert "MNN" not in names


def test_its_methods_are_rows_of_the_comparison():
    ways = [runtime.method for runtime in runtimes.RUNTIMES if runtime.peer is runtimes.MNN]
    assert ways == ["", "-ema", "-ema-winograd"]
    text = SCRIPT.read_text()
    assert all(f'"int8{way}":' in text for way in ways)

"""`edgesr devices`: what is here, and the command that gets the rest."""

import json

import pytest
from typer import Typer
from typer.testing import CliRunner

from edgesr.cli.devices import _runtimes, devices_command
from edgesr.errors import UsageError

app = Typer()
app.command()(devices_command)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any tool."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGESR_CACHE", str(tmp_path))


def test_every_device_that_is_not_here_says_how_to_get_it(bare):
    result = run("--json")
    assert result.exit_code == 0, result.exception
    rows = {row["device"]: row for row in json.loads(result.stdout)["rows"]}
    assert rows["cpu"]["ready"] and "openvino 2" in rows["cpu"]["says"]
    for name in ("web:wasm", "adb", "arm64", "qnn", "rknn"):
        assert not rows[name]["ready"]
        assert "install" in rows[name]["says"], rows[name]
    assert {"gpu:litert", "gpu:ncnn", "gpu:cuda", "npu", "ethos-u65-512"} <= rows.keys()


def test_a_runtime_that_an_extra_brings_is_named_with_it():
    assert _runtimes({"torch": "2.13"}) == "torch 2.13, ncnn: pip install 'edgesr[ncnn]'"
    assert _runtimes({"ncnn": "1.0", "openvino": "2026.3"}) == "openvino 2026.3, ncnn 1.0"


def test_only_those_asked_for(bare):
    result = run("adb", "arm64:cortex-a53")
    assert result.exit_code == 0, result.exception
    assert "apt-get install adb" in result.stdout and "gpu" not in result.stdout


def test_names_that_are_none(bare):
    assert isinstance(run("toaster").exception, UsageError)
    assert isinstance(run("--install", "toaster").exception, UsageError)

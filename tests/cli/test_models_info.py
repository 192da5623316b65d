"""`edgesr models` and `edgesr info`: complete, quick, and right about what they are given."""

import hashlib
import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from edgesr.cli.info import info_command
from edgesr.cli.models import models_command
from edgesr.errors import BadFileError, UsageError
from edgesr.manifest import Manifest
from edgesr.models import create, entries

app = typer.Typer()
app.command("models")(models_command)
app.command("info")(info_command)


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_models_lists_every_network_once():
    rows = json.loads(run("models", "--json"))["rows"]
    assert [row["name"] for row in rows] == list(entries())
    assert all(row["parameters"] > 0 and row["gmacs"] > 0 and row["paper"] for row in rows)
    for row in rows:
        assert (row["halo"] is None) == (row["receptive_field"] is None)
    assert "plain-m" in run("models")


def test_models_with_a_name_shows_every_scale():
    rows = json.loads(run("models", "ecbsr-m4", "--json"))["rows"]
    assert [(row["name"], row["scale"]) for row in rows] == [
        ("ecbsr-m4c16", "x2"), ("ecbsr-m4c16", "x4"), ("ecbsr-m4c8", "x2"), ("ecbsr-m4c8", "x4"),
    ]  # fmt: skip
    assert rows[2]["parameters"] == 2748, "deployed, not the branches of training"
    with pytest.raises(UsageError, match="toaster"):
        run("models", "toaster")


def test_models_does_not_import_the_compiler():
    """Tracing all networks would take a minute; the walk must not even load the tracer."""
    import subprocess
    import sys

    probe = (
        "import sys\nfrom edgesr.cli.models import models_command\nmodels_command('', True)\n"
        "print('SLOW', sorted({'torch._dynamo', 'torch._inductor'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert "SLOW []" in result.stderr, result.stderr


def test_info_of_a_network_without_weights():
    facts = json.loads(run("info", "sesr-m5-x2", "--json"))
    assert facts["parameters"] == 13_600
    assert facts["colour"] == "y" and facts["halo"] == 9
    assert facts["gmacs_720p"] == pytest.approx(3.115, abs=1e-3)
    assert "MLSys 2022" in facts["paper"]
    assert "receptive field" in run("info", "sesr-m5-x2")


def test_info_of_a_member_of_a_family():
    facts = json.loads(run("info", "plain-d5c28-x3", "--json"))
    assert (facts["network"], facts["parameters"]) == ("plain-d5c28-x3", 43_035)
    assert "plain-d5c28-x3" in run("models")


def test_info_of_a_checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(create("espcn-x3").module.state_dict(), path)
    facts = json.loads(run("info", path, "--json"))
    assert facts["network"] == "espcn-x3"
    assert facts["scale"] == 3 and facts["parameters"] == 22_729
    assert facts["weights"] == str(path)


def artifact(tmp_path, content=b"model"):
    path = tmp_path / "espcn-x3_int8.tflite"
    path.write_bytes(content)
    manifest = Manifest(
        network="espcn-x3", artifact=path.name, target="tflite", precision="int8", scale=3,
        colour="y", value_range=1.0, layout="NHWC", dtype="uint8", height=360, width=640,
        sha256=hashlib.sha256(b"model").hexdigest(), operators={"CONV_2D": 3},
    )  # fmt: skip
    manifest.write_beside(path)
    return path


def test_info_of_an_artifact_is_its_manifest(tmp_path):
    path = artifact(tmp_path)
    facts = json.loads(run("info", path, "--json"))
    assert facts["network"] == "espcn-x3" and facts["operators"] == {"CONV_2D": 3}
    assert facts["state"] == "as exported"
    assert "CONV_2D: 3" in run("info", path)


def test_info_says_when_an_artifact_was_changed(tmp_path):
    assert "CHANGED" in run("info", artifact(tmp_path, b"other"))


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("plain-q-x3", UsageError, "plain-m"),
        ("missing.tflite", BadFileError, "missing.tflite"),
        ("xlsr", UsageError, "xlsr-x3"),
    ],
)
def test_info_of_what_is_not_there(what, error, words):
    with pytest.raises(error, match=words):
        run("info", what)


def test_info_of_an_artifact_whose_file_is_gone(tmp_path):
    path = artifact(tmp_path)
    path.unlink()
    with pytest.raises(BadFileError, match="no such file"):
        run("info", path)

"""`edgesr doctor`: sick layers in the terminal, the page beside it, a sentence for mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from edgesr import cli


@pytest.fixture
def photo(tmp_path, scene):
    path = tmp_path / "scene.png"
    Pillow.fromarray(np.tile(scene, (3, 2, 1))).save(path)
    return str(path)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def quick(tmp_path, scene):
    """Calibrated on one small image."""
    folder = tmp_path / "calibration"
    folder.mkdir()
    Pillow.fromarray(scene[::-1]).save(folder / "one.png")
    return ["--calibration", folder]


@pytest.fixture
def edgesr(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["edgesr", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ending:
            code = ending.code or 0
        return code, *capsys.readouterr()

    return run


def test_a_shipped_network_is_examined_and_reported(edgesr, photo, tmp_path, quick):
    page = tmp_path / "report.html"
    code, out, err = edgesr("doctor", "plain-m-x3", "--data", photo, "--out", page, *quick)
    assert code == 0, err
    assert "body.4" in out and "SQNR alone" in out and "channel ranges" in out
    assert "plain-m-x3" in page.read_text()
    code, _, err = edgesr("doctor", "plain-m-x3", "--data", photo, "--out", page, *quick)
    assert code == 8 and "--force overwrites" in err


def test_json_holds_every_layer(edgesr, photo, quick):
    code, out, err = edgesr(
        "doctor",
        "plain-m-x3",
        "--data",
        photo,
        "--json",
        "--target",
        "onnx",
        "--low-resolution",
        *quick,
    )
    assert code == 0, err
    facts = json.loads(out)
    assert facts["target"] == "onnx" and facts["images"][0]["float_truth"] is None
    assert [layer["name"] for layer in facts["layers"]][:2] == ["body.0", "body.1"]
    assert facts["findings"][0]["severity"] in ("ok", "notice", "problem")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plain-m-x3", "--target", "tpu"], 2, "no target is called `tpu`"),
        (["plain-m-x3", "--data", "nowhere"], 2, "no image set and no folder"),
        (["missing.safetensors"], 3, "missing.safetensors"),
        (["missing.onnx"], 3, "no such file: missing.onnx"),
        (["plain-m-x3", "--source", "ncnet-x3"], 2, "--source names"),
        (["plain-z-x3"], 2, "plain-z"),
    ],
)
def test_mistakes_end_in_a_sentence(edgesr, arguments, code, message):
    got, _, err = edgesr("doctor", *arguments)
    assert got == code and message in err and err.count("\n") == 1, err


def test_damaged_files_end_in_a_sentence(edgesr, tmp_path, photo):
    for name in ("broken.safetensors", "broken.int8.safetensors", "broken.onnx"):
        path = tmp_path / name
        path.write_bytes(b"\x10\0\0\0\0\0\0\0not a network")
        code, _, err = edgesr("doctor", path, "--data", photo)
        assert code == 3 and err.startswith("edgesr: ") and err.count("\n") == 1, err


def test_an_image_too_small_is_refused(edgesr, tmp_path, quick):
    for side in (4, 40):
        path = tmp_path / f"{side}.png"
        Pillow.fromarray(np.zeros((side, side, 3), np.uint8)).save(path)
        code, _, err = edgesr("doctor", "plain-m-x3", "--data", path, *quick)
        assert code in (2, 3) and "too small" in err and err.count("\n") == 1, err


def test_a_file_in_8_bits_is_not_named_where_floats_are_needed(edgesr, photo, tmp_path, quick):
    """PTQ of one is refused in a sentence, so that no command of the doctor asks for it."""
    file = tmp_path / "coarse.int8.safetensors"
    options = ["--no-equalize", "--no-rounding", "--no-bias-correction", "--observer", "minmax"]
    data = ["--data", quick[1]]
    code, _, err = edgesr("quantize", "ptq", "quicksrnet-small-x2", *data, *options, "--out", file)
    assert code == 0, err
    code, out, err = edgesr("doctor", file, "--data", photo, "--json")
    assert code == 0, err
    diagnosis = json.loads(out)
    commands = [row["command"] for row in diagnosis["findings"] if row["command"]]
    assert any(" ptq MODEL " in command for command in commands)
    for command in commands:
        assert not (" ptq " in command and str(file) in command), command
    assert any("MODEL" in note for note in diagnosis["notes"])
    code, _, err = edgesr("quantize", "ptq", file, "--out", tmp_path / "x.int8.safetensors")
    assert code == 3 and "in 8 bits already" in err and err.count("\n") == 1


def test_the_commands_it_recommends_exist():
    """Words after the model are options that the command has, in any of its groups."""
    from edgesr.quantize.doctor import remedies
    from typer.main import get_command

    advised = [
        remedies.equalize("NET"), remedies.recalibrate("NET"), remedies.correct("NET"),
        remedies.mix("NET"), remedies.retrain("NET"), remedies.float_export("NET", "onnx"),
    ]  # fmt: skip
    for line in advised:
        words = line.split()[1:]
        command = get_command(cli.app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
        needed = {p.opts[0] for p in command.params if p.required and p.opts[0].startswith("--")}
        assert needed <= set(words), line

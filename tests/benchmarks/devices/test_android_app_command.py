"""`edgesr bench MODEL --device adb --runner app`, as typed: a real adbd, a script for the app."""

import json
import sys

import pytest
from app_stub import HELPFUL, record_golden
from edgesr.benchmarks.devices import phone_state
from edgesr.benchmarks.devices.android_app import MODELS, RESULTS
from edgesr.benchmarks.results import read_result
from programs import SERIAL, executable

from edgesr.cli import main


@pytest.fixture
def edgesr(monkeypatch, capsys):
    """`edgesr("bench", file)`: exit code, standard output, standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgesr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("device", ["adb", f"adb:{SERIAL}"])
def test_a_phone_is_measured_through_the_app(
    app_phone, artifact, edgesr, monkeypatch, tmp_path, device
):
    file, out = artifact(), tmp_path / "phone.json"
    record_golden(app_phone, file)
    words = ["bench", file, "--device", device, "--runner", "app"]
    code, printed, said = edgesr(*words, "--processes", 1)
    assert code == 0 and "emulated" in printed and "exact" in printed, said

    silicon = phone_state.FACTS.replace("$(uname -m)", "aarch64")
    monkeypatch.setattr(phone_state, "FACTS", silicon)
    code, printed, said = edgesr(*words, "--threads", 2, "--json", "--out", out)
    assert code == 0, said
    (row,) = json.loads(printed)["rows"]
    assert row["label"] == "measured" and row["median_ms"] == 2.0 and row["runs"] == 9
    assert row["parity"] == "exact" and row["runtime"] == "app, LiteRT"
    (kept,) = read_result(out).rows
    assert kept.samples == [1.5, 2.5, 2.0] * 3 and kept.facts["app"] == {"threads": 2}
    assert SERIAL not in out.read_text()  # a serial names one person's phone
    for folder in (MODELS, RESULTS):
        assert not list((app_phone / folder.lstrip("/")).iterdir())


def test_the_phone_says_no(app_phone, phone, artifact, edgesr):
    file = artifact()

    def refused(*words, **programs):
        phone(**{**HELPFUL, **programs})
        code, printed, said = edgesr("bench", file, *words)
        assert not printed and said.count("\n") == 1, said
        return code, said

    app = ("--device", f"adb:{SERIAL}", "--runner", "app")
    code, said = refused(*app, pm="true")
    assert code == 9 and "the app is not on" in said and "edgesr android install" in said
    code, said = refused(*app, am="true", pidof="false")
    assert code == 9 and "ended without a result" in said
    code, said = refused("--device", "adb:R5CT", "--runner", "app")
    assert code == 9 and f"no phone has the serial R5CT; connected: {SERIAL}" in said


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--device", "adb", "--runner", "app"], 9, "no phone is connected"),
        (["--device", "adb", "--runner", "apk"], 2, "the only runner is `app`"),
        (["--device", "web", "--runner", "app"], 2, "the only runner is `app`"),
        (["--runner", "app"], 2, "are for devices, not for cpu"),
    ],
)
def test_mistakes_that_need_no_phone(
    artifact, edgesr, monkeypatch, tmp_path, words, code, sentence
):
    executable(tmp_path / "adb", "#!/bin/sh\necho List of devices attached\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    ended, printed, said = edgesr("bench", artifact(), *words)
    assert (ended, printed) == (code, ""), said
    assert sentence in said and said.count("\n") == 1


def test_a_machine_without_adb(artifact, edgesr, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    ended, _, said = edgesr("bench", artifact(), "--device", "adb", "--runner", "app")
    assert ended == 9 and "apt-get install adb" in said

"""The app as a runner, against a real adbd; a script called `am` stands in for the app."""

import json
import os
import shutil

import pytest
from app_stub import AM, HELPFUL, record_golden
from edgesr.benchmarks.devices import open_device
from edgesr.benchmarks.devices.android_app import MODELS, PACKAGE, RESULTS, check_backend
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.harness import Plan
from programs import SERIAL

from edgesr.android import phone as phones
from edgesr.errors import BadFileError, OutputExistsError, UsageError
from edgesr.manifest import manifest_path


def test_push_start_pull_parse(app_phone, artifact, monkeypatch):
    """A phone that says it is real: every step of the runner, samples and parity at the end."""
    from edgesr.benchmarks.devices import phone_state

    says = phone_state.FACTS.replace("$(uname -m)", "aarch64")
    monkeypatch.setattr(phone_state, "FACTS", says)
    file = artifact()
    record_golden(app_phone, file)
    phones.push([file], SERIAL, start=False)
    device = open_device(f"adb:{SERIAL}", runner="app")
    (row,) = bench_on(device, [file], Plan(runs=3, warm_up=1), threads=2, processes=2).rows
    assert row.samples == [1.5, 2.5, 2.0] * 2 and row.label == "measured"
    assert row.parity.exact and row.runtime == "app, LiteRT" and row.delegate == "CPU"
    assert row.facts["app"] == {"threads": 2} and row.placement.full is True
    asked = (app_phone / "data" / "am.log").read_text().splitlines()
    assert len(asked) == 2 and asked[0] != asked[1]
    assert asked[0].startswith(f"start -S -W -n {PACKAGE}/.BenchActivity --es model bench-")
    assert "--es runs 3 --es warm_up 1 --es strict true" in asked[0]
    results = app_phone / RESULTS.lstrip("/")
    assert not list(results.iterdir())  # nothing is left behind, and the user's model stays
    left = sorted(path.name for path in (app_phone / MODELS.lstrip("/")).iterdir())
    assert left == [file.name, f"{file.name}.json"]


def test_onnx_files_run_there_too(app_phone, artifact):
    file = artifact("onnx")
    record_golden(app_phone, file)
    device = open_device(f"adb:{SERIAL}", runner="app")
    (row,) = bench_on(device, [file], Plan(runs=3), processes=1).rows
    assert row.label == "emulated" and row.samples == [] and row.parity.exact


def test_what_the_app_says_no_to(app_phone, phone, artifact):
    """Its own words arrive; so does a crash, a refused start, and that it is not installed."""
    file = artifact()

    def refused(words, **programs):
        phone(**{**HELPFUL, **programs})
        device = open_device(f"adb:{SERIAL}", runner="app")
        with pytest.raises(DeviceError, match=words):
            bench_on(device, [file], Plan(runs=3), processes=1)

    out_of_model = AM.replace(f'[ -f "{MODELS}/$model" ]', "false")
    refused("the app on .*: no model is called", am=out_of_model)
    refused("ended without a result", am="true", pidof="false")
    refused("garbage", am=AM.replace('"init_ms":3.5,', ""))
    refused("does not start the app: Error type 3", am="echo 'Error type 3'")
    refused("edgesr android install", pm="true")


def test_install_push_pull(app_phone, phone, artifact, tmp_path):
    apk = tmp_path / "edgesr.apk"
    apk.write_bytes(os.urandom(1 << 16))
    assert phones.install(apk, SERIAL) == SERIAL
    assert (app_phone / "data" / "app.apk").read_bytes() == apk.read_bytes()
    file = tmp_path / "my net.tflite"
    shutil.copy(artifact(), file)
    shutil.copy(manifest_path(artifact()), manifest_path(file))
    assert phones.push([file], SERIAL) == [f"{MODELS}/{file.name}"]
    pushed = app_phone / MODELS.lstrip("/")
    for local in (file, manifest_path(file)):
        assert (pushed / local.name).read_bytes() == local.read_bytes()
        assert (pushed / local.name).stat().st_mode & 0o777 == 0o644
    log = (app_phone / "data" / "am.log").read_text()
    assert f"start -n {PACKAGE}/.MainActivity --es model {file.name}" in log

    with pytest.raises(DeviceError, match="no results"):
        phones.pull(tmp_path / "results", SERIAL)
    record_golden(app_phone, file)
    name = file.name.replace(" ", "\\\\ ")  # for this machine's shell and the phone's
    os.system(f"adb -s {SERIAL} shell am start --es id a1 --es model {name} --es threads 1")
    os.system(f"adb -s {SERIAL} shell am start --es id a2 --es model gone --es threads 1")
    rows = phones.pull(tmp_path / "results", SERIAL)
    assert [row["file"] for row in rows] == ["a1.json", "a2.json"]
    assert rows[0]["samples_ms"] == [1.5, 2.5, 2.0] and "no model" in rows[1]["error"]
    assert (tmp_path / "results" / "a1.bin").stat().st_size
    with pytest.raises(OutputExistsError):
        phones.pull(tmp_path / "results", SERIAL)


def test_what_does_not_go_to_a_phone(artifact, tmp_path):
    with pytest.raises(BadFileError, match="no such file"):
        phones.install(tmp_path / "gone.apk")
    with pytest.raises(UsageError, match=r"\.tflite and \.onnx"):
        phones.push([tmp_path / "net.xml"])
    file = tmp_path / "net.tflite"
    shutil.copy(artifact(), file)
    with pytest.raises(BadFileError, match="no manifest"):
        phones.push([file])
    facts = json.loads(manifest_path(artifact()).read_text())
    for change, error, words in (
        ({"scale": [1.5, 1.5]}, UsageError, "whole numbers"),
        ({"output_quantization": {"scale": 0.1, "zero_point": 256}}, BadFileError, "no sense: out"),
        ({"version": 2}, BadFileError, "of version 2"),
    ):
        manifest_path(file).write_text(json.dumps(facts | change))
        with pytest.raises(error, match=words):
            phones.push([file])
    shutil.copy(manifest_path(artifact()), manifest_path(file))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(BadFileError, match="not the file its manifest"):
        phones.push([file])


def test_runners_and_backends_by_name(tmp_path):
    with pytest.raises(UsageError, match="only runner is `app`"):
        open_device("adb", runner="apk")
    with pytest.raises(UsageError, match="only runner is `app`"):
        open_device("cpu", runner="app")
    with pytest.raises(UsageError, match="there are cpu, gpu, npu, nnapi"):
        check_backend("tpu")


def test_damaged_results(tmp_path):
    bad = tmp_path / "a.json"
    for text in ("{", "[]", json.dumps({"a": 1})):
        bad.write_text(text)
        with pytest.raises(BadFileError, match="no result of the app"):
            phones._read(bad)

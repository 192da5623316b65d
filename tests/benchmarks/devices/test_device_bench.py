"""The loop around a device: labels cannot lie, parity is of the proved output."""

import base64
import dataclasses
import json

import numpy as np
import pytest
from edgesr.benchmarks.devices import open_device, parity, survey
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError, Placement, Run
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.results import read_result, write_result

from edgesr.errors import BadFileError, UnsupportedError, UsageError
from edgesr.manifest import read_manifest
from edgesr.runtime import open_session


class Pretend:
    """A device that answers what it is told to."""

    name, suffixes, processes = "pretend", (".tflite",), 3

    def __init__(self, *, label="measured", placement=None, off=0, heat=False):
        self.label, self.off, self.heat = label, off, heat
        self.placement = placement or Placement.of(5, ())
        self.order, self.closed = [], False

    def probe(self):
        return {"chip": "made up"}

    def push(self, payload):
        self.payload = payload
        self.order.append(payload.artifact)

    def run(self, work):
        samples = (1.0,) * work.runs if self.label == "measured" else ()
        return Run(self.label, "pretend", "1", samples, placement=self.placement)

    def pull(self):
        output = open_session(self.payload.artifact).infer(self.payload.golden)
        changed = output.copy()
        changed.reshape(-1)[0] = changed.reshape(-1)[0] // 2 + self.off
        return changed if self.off else output

    def snapshot(self):
        return {"throttled": True} if self.heat else {}

    def close(self):
        self.closed = True


@pytest.mark.parametrize("label", ["emulated", "estimate", "software"])
def test_what_was_not_measured_has_no_latency(label):
    with pytest.raises(ValueError, match="no latency"):
        Run(label, "r", "1", (1.0,))


def test_artifacts_take_turns_in_fresh_processes(artifact, tmp_path):
    device = Pretend()
    files = [artifact(), artifact(io="int8")]
    result = bench_on(device, files, Plan(runs=2))
    assert sorted(device.order) == sorted(files * 3) and device.closed
    assert device.order != files * 3 and device.order != files[::-1] * 3  # orders differ
    for row in result.rows:
        assert row.samples == [1.0] * 6 and row.device == "pretend"
        assert row.parity.exact and row.parity.max_lsb == 0 and row.parity.psnr is None
        assert "integer reference" in row.parity.reference
    write_result(result, tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == result
    flat = json.loads((tmp_path / "r.json").read_text())["table"][0]
    assert (flat["parity"], flat["placement"], flat["median_ms"]) == ("exact", "all", 1.0)


def test_a_label_without_samples_has_null_latency(artifact, tmp_path):
    result = bench_on(Pretend(label="emulated"), [artifact()])
    (flat,) = result.table()
    assert flat["median_ms"] is None and flat["ms_per_megapixel"] is None
    assert flat["label"] == "emulated" and flat["parity"] == "exact"
    write_result(result, tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == result


def test_another_output_is_seen(artifact):
    (row,) = bench_on(Pretend(off=1), [artifact()]).rows
    assert not row.parity.exact and row.parity.max_lsb > 0 and row.parity.psnr < 99
    assert row.parity.identical == pytest.approx(1 - 1 / (32 * 48 * 3))


def test_heat_is_said(artifact):
    result = bench_on(Pretend(heat=True), [artifact()])
    assert any("too hot" in warning for warning in result.warnings())


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (Placement.of(4, ("DEPTH_TO_SPACE",)), "leaves DEPTH_TO_SPACE of"),
        (Placement(), "does not tell"),
        (Placement(full=False), "some operators"),
    ],
)
def test_the_gate_lets_nothing_through(artifact, placement, words):
    with pytest.raises(UnsupportedError, match=words):
        bench_on(Pretend(placement=placement), [artifact()], require_full=True)
    assert bench_on(Pretend(), [artifact()], require_full=True).rows


def test_a_device_that_fails_is_closed(artifact):
    device = Pretend()
    device.run = lambda work: (_ for _ in ()).throw(DeviceError("unplugged"))
    with pytest.raises(DeviceError, match="unplugged"):
        bench_on(device, [artifact()])
    assert device.closed


@pytest.mark.parametrize("length", [1024, 10])
def test_a_file_that_changed_since_export_is_no_reference(artifact, tmp_path, length):
    copy = tmp_path / artifact().name
    copy.write_bytes(artifact().read_bytes())
    manifest = read_manifest(artifact())
    samples = base64.b64encode(bytes(length)).decode()
    golden = {**manifest.parity["golden"], "samples": samples}
    changed = {**manifest.parity, "golden": golden}
    dataclasses.replace(manifest, parity=changed).write_beside(copy)
    payload = parity.payload_for(copy)
    with pytest.raises(BadFileError, match="export it again"):
        parity.golden_for(payload)


def test_another_number_of_values_is_refused(artifact):
    golden = parity.golden_for(parity.payload_for(artifact()))
    with pytest.raises(BadFileError, match="7 values"):
        golden.compare(np.zeros(7, np.uint8))


def test_unknown_devices_are_listed():
    with pytest.raises(UsageError, match=r"cpu, gpu.*adb\[:SERIAL\].*ethos-u55-256"):
        open_device("toaster")
    with pytest.raises(UsageError, match="ethos-u65-512"):
        open_device("ethos-u99")


def test_the_survey_says_why_not(monkeypatch):
    monkeypatch.setattr("edgesr.export.compile.vela.find_spec", lambda name: None)
    (found,) = survey(["ethos-u65-512"])
    assert not found.ready and "pip install" in found.says

"""ncnn in the bench: a row of the processor, and Vulkan, in software where there is no chip."""

from __future__ import annotations

import numpy as np
import pytest
from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.devices import gpu_ncnn, open_device, parity, survey
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError, Work
from edgesr.benchmarks.devices.vulkan import Driver
from edgesr.benchmarks.entrants import line_up
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.suite.cells import timings_of
from edgesr.benchmarks.suite.definition import Part, Suite
from edgesr.export import export

from edgesr.errors import BadFileError
from edgesr.models.intake import load

SHAPE = (24, 40)
ANSWER = {
    "samples": [2.0, 1.0], "compile_s": 0.1, "adapter": "Adreno 740", "kind": "integrated",
    "on_gpu": 7, "on_cpu": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ncnn")
    return export(load("random:plain-s-x3"), target="ncnn", shape=SHAPE, out=folder).path


def test_a_row_of_the_processor(artifact):
    entrants = line_up([str(artifact)])
    assert [entrant.runtime for entrant in entrants] == ["ncnn"]
    (row,) = bench(entrants, Plan(runs=3, warm_up=1), memory=False, ceilings=False).rows
    assert len(row.samples) == 3 and min(row.samples) > 0
    assert (row.runtime, row.precision, row.delegate) == ("ncnn", "fp32", "CPU kernels, fp32")
    assert row.parity.exact
    # Every convolution reads and writes its maps once, of 4 bytes a value.
    assert row.macs and row.bytes_moved > 4 * np.prod(SHAPE) * (3 + 6 * 2 * 16)


def test_vulkan_computes_the_same_pixels(artifact):
    device = open_device("gpu:ncnn")
    try:
        device.probe()
    except DeviceError as error:
        pytest.skip(str(error))
    (row,) = bench_on(device, [artifact], Plan(runs=2, warm_up=1), require_full=True).rows
    assert row.placement.full and row.placement.on_device == 11
    assert row.parity.max_lsb <= 1
    if row.label == "software":
        assert row.samples == [] and "no latency" in row.notes[0]


def test_a_chip_is_timed_and_a_stand_in_is_not():
    device = gpu_ncnn.NcnnGpu()
    chip = device.describe(ANSWER, "")
    assert (chip.label, chip.samples, chip.placement.full) == ("measured", (2.0, 1.0), True)
    soft = device.describe({**ANSWER, "kind": "software", "adapter": "llvmpipe"}, "")
    assert (soft.label, soft.samples) == ("software", ())
    device._driver = Driver("SwiftShader (software)", "/icd.json")
    assert device.describe(ANSWER, "").label == "software"
    assert device.environment()["VK_DRIVER_FILES"] == "/icd.json"
    left = device.describe({**ANSWER, "on_cpu": ["Reduction"]}, "")
    assert left.placement.describe() == "all but Reduction"


def test_a_driver_that_is_not_there_is_no_silent_processor(artifact, tmp_path):
    device = gpu_ncnn.NcnnGpu()
    device._driver = Driver("nothing", str(tmp_path / "none.json"))
    device.push(parity.payload_for(artifact))
    with pytest.raises(DeviceError, match="finds no Vulkan adapter"):
        device.run(Work(runs=1, warm_up=0))


def test_a_missing_package_is_named_in_the_survey(monkeypatch):
    monkeypatch.setattr(gpu_ncnn, "find_spec", lambda name: None)
    (found,) = survey(["gpu:ncnn"])
    assert not found.ready and "pip install 'edgesr[ncnn]'" in found.says


def test_other_files_are_refused(artifact):
    payload = parity.payload_for(artifact)
    with pytest.raises(BadFileError, match=r"gpu:litert takes \.tflite files"):
        open_device("gpu:litert").push(payload)


def test_a_suite_runs_ncnn_files_where_they_run():
    devices = ("cpu", "gpu:ncnn", "gpu:litert")
    part = Part(("plain-s-x3",), ("ncnn",), ("fp32",), (SHAPE,), devices)
    timings = timings_of(Suite("s", (part,)))
    assert [(t.device, t.runtime) for t in timings] == [("cpu", "ncnn"), ("gpu:ncnn", "")]

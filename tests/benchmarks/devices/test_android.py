"""A real adb against a real adbd with emulated arm64 cores; a pretended adb for what goes wrong."""

import dataclasses
import json
import os
import subprocess
import threading

import pytest
from edgesr.benchmarks.devices import open_device, phone_state
from edgesr.benchmarks.devices.adb import choose, read_devices
from edgesr.benchmarks.devices.android import Android
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.harness import Plan
from programs import SERIAL, executable

from edgesr.errors import BadFileError, UsageError

LISTING = "* daemon started successfully\nList of devices attached\n{}\n\n"


@pytest.mark.parametrize(
    ("rows", "wanted", "error", "words"),
    [
        ("", "", DeviceError, "no phone is connected"),
        ("R5CT\tunauthorized", "", DeviceError, "accept the question"),
        ("R5CT\toffline", "", DeviceError, "R5CT is offline"),
        ("R5CT\tno permissions (user in plugdev?); see [url]", "", DeviceError, "not be opened"),
        ("R5CT\tbootloader", "", DeviceError, "boot loader"),
        ("R5CT\thost", "", DeviceError, "must be `device`"),
        ("R5CT\tdevice\nZY22\tdevice", "", UsageError, "adb:R5CT or adb:ZY22"),
        ("R5CT\tdevice\nZY22\toffline", "ZY22", DeviceError, "ZY22 is offline"),
        ("R5CT\tdevice", "other", DeviceError, "connected: R5CT"),
    ],
)
def test_what_can_be_wrong_with_a_connection(rows, wanted, error, words):
    with pytest.raises(error, match=words):
        choose(LISTING.format(rows), wanted)


def test_the_right_phone_is_chosen():
    assert choose(LISTING.format("R5CT\tdevice")) == "R5CT"
    assert choose(LISTING.format("R5CT\tdevice\nZY22\tdevice"), "ZY22") == "ZY22"
    assert read_devices("* daemon not running; starting now\nadb: garbage") == {}


BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  level: 83
  temperature: {tenths}
EDGESR
IsStatusOverride: false
Thermal Status: {status}
EDGESR
0 1800000 1800000 576000
1 1800000 {may} 1800000
7 2800000 2800000 2600000
8
"""


def state(usb="true", tenths=301, status=0, may=1800000):
    text = BATTERY.format(usb=usb, tenths=tenths, status=status, may=may)
    return phone_state.read_state(text)


def test_the_state_of_a_phone():
    assert state() == {
        "battery_percent": 83, "battery_celsius": 30.1, "charging": True, "thermal_status": 0,
        "core_mhz": {0: 576, 1: 1800, 7: 2600}, "throttled": False,
    }  # fmt: skip
    assert state(usb="false")["charging"] is False
    assert state(status=2)["throttled"] and state(may=900000)["throttled"]
    assert phone_state.is_cool(state())
    assert not phone_state.is_cool(state(tenths=361)) and not phone_state.is_cool(state(status=1))
    assert phone_state.read_state("sh: dumpsys: not found") == {}
    assert phone_state.is_cool({})


def test_the_fastest_cores_are_asked_for():
    cores = {0: (1800, 0, 0), 1: (1800, 0, 0), 6: (2400, 0, 0), 7: (2800, 0, 0)}
    assert [phone_state.fastest_mask(cores, n) for n in (1, 2, 3)] == ["80", "c0", "c1"]
    assert phone_state.fastest_mask({}, 1) == ""


@pytest.mark.parametrize(
    ("facts", "emulated"),
    [
        ({"abi": "arm64-v8a", "machine": "aarch64"}, False),
        ({"abi": "arm64-v8a", "machine": "armv8l"}, False),
        ({"abi": "arm64-v8a", "machine": "x86_64"}, True),
        ({"abi": "arm64-v8a", "machine": "aarch64", "emulator": "1"}, True),
        ({"abi": "x86_64", "machine": "x86_64", "old_emulator": "1"}, True),
    ],
)
def test_emulators_are_recognized(facts, emulated):
    assert phone_state.is_emulated(facts) is emulated


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """`pretend("body")`: an adb on PATH whose `shell` runs the body with the command in $1."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(body, listing="R5CT\\tdevice"):
        executable(
            tmp_path / "adb",
            f'#!/bin/sh\n[ "$1" = devices ] && printf "List\\n{listing}\\n" && exit 0\n'
            f'shift 2\nif [ "$1" = shell ]; then shift; ( {body}\n)\n'
            "code=$?; [ $code = 1 ] && exit 1; echo EDGESR_END $code\nfi\n",
        )

    return make


FACTS = "echo abi=arm64-v8a; echo machine=aarch64; echo model=P"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo 'error: device offline' >&2; exit 1", "R5CT went away"),
        ("echo \"error: device 'R5CT' not found\" >&2; exit 1", "went away"),
        ("echo 'sh: oops'; exit 3", r"sh: oops \(exit code 3\)"),
        ("true", "does not say what it is"),
        ("echo abi=x86_64; echo machine=x86_64", "give a benchmark_model"),
    ],
)
def test_what_can_go_wrong_on_a_phone(pretend, artifact, body, words):
    pretend(body)
    with pytest.raises(DeviceError, match=words):
        bench_on(open_device("adb"), [artifact()])


def test_a_tool_that_answers_garbage(pretend, artifact, tmp_path):
    tool = executable(tmp_path / "benchmark_model", "")
    answer = 'case "$1" in *--help*) echo use_xnnpack;; *--graph*) echo Segfault;; *) '
    pretend(f"{answer} {FACTS};; esac")
    with pytest.raises(DeviceError, match="garbage instead of benchmark_model's timings: 'Segf"):
        bench_on(open_device("adb", tool=tool), [artifact()])


def test_a_tool_that_measures(pretend, artifact, tmp_path):
    tool = executable(tmp_path / "benchmark_model", "")
    lines = (
        "echo INFO: count=7 first=9 curr=9 min=8 max=9 avg=8500 std=1 p5=8 median=8250 p95=9; "
        "echo INFO: Inference timings in us: Init: 1000, First inference: 9000, "
        "'Warmup (avg): 8600, Inference (avg): 8500'"
    )
    answer = f'case "$1" in *--help*) echo use_xnnpack;; *--graph*) {lines};; *) '
    pretend(f"{answer} {FACTS};; esac")
    result = bench_on(open_device("adb", tool=tool), [artifact()], Plan(runs=7))
    (row,) = result.rows
    assert row.samples == [8.25] * 3 and row.label == "measured" and row.parity is None
    assert any("nothing is proved" in warning for warning in result.warnings())
    assert any("median of 7 runs" in warning for warning in result.warnings())


def test_a_hot_phone_is_waited_for(pretend, artifact, tmp_path):
    tool = executable(tmp_path / "benchmark_model", "")
    hot = "echo temperature: 400"
    answer = f'case "$1" in *dumpsys*) {hot};; *) '
    pretend(f"{answer} {FACTS}; echo Inference;; esac")
    slept = []
    device = Android("", tool, sleep=slept.append, cool_down=12)
    with pytest.raises(DeviceError):
        bench_on(device, [artifact()])
    assert slept == [5, 5, 5]


def test_tools_must_exist_and_be_for_phones(tmp_path):
    with pytest.raises(BadFileError, match="no such tool"):
        open_device("adb", tool=tmp_path / "gone")
    with pytest.raises(UsageError, match="takes no --tool"):
        open_device("arm64", tool=tmp_path)


def test_without_adb_the_command_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DeviceError, match="apt-get install adb"):
        open_device("adb").probe()


def test_an_emulated_phone_gives_pixels_and_no_latency(phone, sandbox, artifact):
    phone()
    device = open_device(f"adb:{SERIAL}")
    (row,) = bench_on(device, [artifact()], Plan(runs=3, warm_up=1), processes=2).rows
    assert (row.label, row.samples) == ("emulated", [])
    assert row.parity.exact, row.parity
    assert SERIAL not in json.dumps(dataclasses.asdict(row))  # results name no person's phone
    assert row.device.startswith("adb:made-up-model#")
    assert row.facts["model"] == "made-up-model" and row.facts["machine"] == "x86_64"
    assert not list((sandbox / "data" / "local" / "tmp").iterdir())  # nothing is left behind


def test_a_phone_that_says_it_is_real_is_measured(phone, artifact, monkeypatch):
    """What a real phone would go through, on the emulator: every process, flag and sample."""
    battery = "echo '  USB powered: true'; echo '  level: 50'; echo '  temperature: 250'"
    says = phone_state.FACTS.replace("$(uname -m)", "aarch64")
    monkeypatch.setattr(phone_state, "FACTS", says)
    phone(dumpsys=f'[ "$1" = battery ] && {{ {battery}; }} || true')
    files = [artifact(), artifact(io="int8")]
    result = bench_on(open_device(f"adb:{SERIAL}"), files, Plan(runs=2, warm_up=0))
    for row in result.rows:
        assert row.label == "measured" and len(row.samples) == 6 and row.parity.exact
        assert len(row.facts["snapshots"]) == 3
        assert row.facts["snapshots"][0]["before"]["battery_celsius"] == 25.0
    assert any("was charging" in warning for warning in result.warnings())


def test_a_runner_that_dies_on_the_phone(phone, artifact, tmp_path, monkeypatch):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ("ld-linux-aarch64.so.1", "edgesr_run"):
        executable(bundle / name, "#!/bin/sh\necho going; kill -9 $$\n")
    monkeypatch.setattr("edgesr.benchmarks.devices.bundle.arm64_bundle", lambda: bundle)
    with pytest.raises(DeviceError, match="exit code 137"):
        bench_on(open_device(f"adb:{SERIAL}"), [artifact()])


def test_a_phone_that_vanishes_in_the_middle(phone, artifact):
    """The connection is cut while the phone computes."""
    device = open_device(f"adb:{SERIAL}")
    cut = threading.Timer(1.0, subprocess.run, (["adb", "disconnect", SERIAL],))
    subprocess.run(["adb", "connect", SERIAL], capture_output=True, timeout=30, check=True)
    with pytest.raises(DeviceError, match="went away while it worked"):
        try:
            cut.start()
            bench_on(device, [artifact()], Plan(runs=1000))
        finally:
            cut.join()
            subprocess.run(["adb", "connect", SERIAL], capture_output=True, timeout=30, check=True)

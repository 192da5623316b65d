"""Our runner: its one line, and the same pixels on emulated arm64 cores as here."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from edgesr.benchmarks.devices import arm64, bundle, open_device, parity
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.devices.runner_output import read_runner

LINE = (
    '{"edgesr_run":1,"init_ms":13.3,"first_ms":135.6,"full":false,"peak_rss_kb":52076,'
    '"in_bytes":228480,"out_bytes":2056320,"samples_ms":[56.39,57.5]}'
)


def test_the_line_is_found_among_others():
    for text in (LINE, f"INFO: something\n{LINE}\n", f"noise {LINE}\nWARNING: later"):
        output = read_runner(text, "phone")
        assert output.samples == (56.39, 57.5) and output.peak_rss_kb == 52076


@pytest.mark.parametrize(
    "text",
    [
        "", "Segmentation fault", LINE[:60], LINE.replace("56.39", "null"),
        LINE.replace("56.39", "NaN"), LINE.replace("56.39", "-1"), LINE.replace("13.3", '"x"'),
        LINE.replace("samples_ms", "times"),
    ],
)  # fmt: skip
def test_garbage_is_quoted(text):
    with pytest.raises(DeviceError, match="phone answered garbage"):
        read_runner(text, "phone")


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """The runner built for this machine, and LiteRT's library."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: apt-get install gcc")
    out = tmp_path_factory.mktemp("runner") / "edgesr_run"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(out), str(bundle.SOURCE), "-ldl"], check=True)
    return [str(out), f"--lib={Path(find_spec('ai_edge_litert').origin).parent / bundle.LIBRARY}"]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_runner_computes_what_the_interpreter_does(runner, artifact, tmp_path, threads):
    payload = parity.payload_for(artifact())
    payload.golden.tofile(tmp_path / "in.bin")
    command = [
        *runner, f"--model={payload.artifact}", f"--in={tmp_path / 'in.bin'}",
        f"--out={tmp_path / 'out.bin'}", "--runs=4", "--warmup=1", f"--threads={threads}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = read_runner(done.stdout, "this machine")
    assert len(answer.samples) == 4 and min(answer.samples) > 0
    output = np.fromfile(tmp_path / "out.bin", np.uint8)
    assert answer.out_bytes == output.size
    assert parity.golden_for(payload).compare(output).exact


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--model"),
        (["--model=gone.tflite"], 10, "CreateModelFromFile"),
        (["--colour=red"], 2, "--colour: is not an option"),
        (["--model=x", "--lib=gone.so"], 3, "gone.so"),
    ],
)
def test_the_runner_says_what_is_wrong(runner, arguments, code, words):
    done = subprocess.run([*runner, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code and words in done.stderr


@pytest.mark.parametrize("core", ["cortex-a76", "cortex-a53"])
@pytest.mark.parametrize(("precision", "io"), [("int8", "uint8"), ("fp32", "uint8")])
def test_emulated_cores_give_the_same_pixels(artifact, core, precision, io):
    device = open_device(f"arm64:{core}")
    try:
        device.probe()
        bundle.arm64_bundle()
    except DeviceError as error:
        pytest.skip(str(error))
    (row,) = bench_on(device, [artifact(precision=precision, io=io)]).rows
    assert (row.label, row.samples) == ("emulated", [])
    assert row.parity.exact, row.parity


def test_without_an_emulator_the_command_is_named(monkeypatch):
    monkeypatch.setattr(arm64.shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match="apt-get install qemu-user"):
        open_device("arm64").probe()

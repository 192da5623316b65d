"""`edgesr design`: the clock behind the search, the recipe it writes, mistakes."""

import dataclasses
import json
import tomllib

import pytest
import torch
from edgesr.benchmarks.devices.device import DeviceError, Placement, Run
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.design import SPACE, Member, measure
from edgesr.design.measure import OnDevice
from edgesr.design.recipe import recipe_text
from edgesr.errors import UsageError
from edgesr.manifest import read_manifest
from edgesr.recipes import read

COMMAND = ["design", "--scale", "3", "--budget", "9ms"]


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions on shared cores: threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pretended(member):
    return 3 + member.depth * (0.2 + 0.02 * member.channels)


@pytest.fixture
def quick(monkeypatch):
    """No export and no clock."""
    asked = []

    def answer(self, members):
        asked.extend(members)
        self.how = "measured by litert 9"
        return [pretended(member) for member in members]

    monkeypatch.setattr(OnDevice, "__call__", answer)
    return asked


def run(*arguments):
    return CliRunner().invoke(app, [*COMMAND, *map(str, arguments)])


def test_the_winner_becomes_a_recipe(quick, tmp_path):
    out = tmp_path / "mine.toml"
    done = run("--out", out, "--shape", "180x320", "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    (row,) = [row for row in printed["rows"] if row["chosen"]]
    member = Member(row["depth"], row["channels"])
    assert printed["chosen"] == row["network"] == member.name(3)
    assert row["ms"] == pretended(member) <= 9 and row["parameters"] > 0 and row["gmacs"] > 0
    assert len(printed["rows"]) == len(set(quick)) == len(quick)
    recipe = read(str(out), data=["photos"])
    assert recipe.network == row["network"]
    assert (recipe.export.target, recipe.export.shape) == ("tflite", "180x320")
    assert out.read_text().startswith(f"# {row['network']}: {row['ms']:.1f} of 9 ms, 180x320 in")
    like = read("plain-m-x3")
    assert recipe.stage == like.stage and recipe.qat == like.qat


def test_a_recipe_is_for_the_device():
    text = recipe_text("plain-d4c16-x2", "a\nb", target="ethos-u65-512", shape=(96, 128))
    assert text.startswith('# a\n# b\nnetwork = "plain-d4c16-x2"\n')
    table = tomllib.loads(text)
    assert table["export"] == {"target": "ethos-u65-512", "shape": "96x128"}
    assert table["qat"] and len(table["stage"]) == 2


def test_the_table_names_the_winner(quick, tmp_path):
    done = run("--out", tmp_path / "r.toml")
    (line,) = [line for line in done.stdout.splitlines() if "chosen │" in line]
    assert tomllib.loads((tmp_path / "r.toml").read_text())["network"] in line


def test_train_trains_it(quick, tmp_path, monkeypatch):
    from edgesr.cli import train

    calls = []
    monkeypatch.setattr(train, "train_command", lambda *a, **k: calls.append((a, k)))
    out = tmp_path / "r.toml"
    assert run("--out", out, "--train", "--data", "photos").exit_code == 0
    ((recipe,), options) = calls[0]
    assert recipe == str(out) and [str(p) for p in options["data"]] == ["photos"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "soon"], "--budget is a time above zero, such as 8ms, not `soon`"),
        (["--budget", "-1ms"], "--budget is a time above zero"),
        (["--budget", "inf"], "--budget is a time above zero"),
        (["--scale", "7"], "comes in scales"),
        (["--device", "toaster"], "no device is called `toaster`; there are cpu, "),
        (["--runtime", "torch"], "--runtime is one of litert, ort, openvino, not `torch`"),
        (["--device", "ethos-u65-512", "--runtime", "ort"], "--runtime is for cpu"),
        (["--shape", "dynamic"], "--shape is one size"),
        (["--shape", "big"], "`big` is no shape"),
        (["--train"], "--train and --data go together"),
        (["--data", "photos"], "--train and --data go together"),
        (["--budget", "2ms"], "the fastest, plain-d2c8, takes 3.7 ms"),
    ],
)
def test_mistakes(quick, tmp_path, arguments, message):
    done = run("--out", tmp_path / "r.toml", *arguments)
    assert isinstance(done.exception, UsageError) and message in str(done.exception)
    assert not (tmp_path / "r.toml").exists()


def test_a_recipe_is_not_overwritten(quick, tmp_path):
    out = tmp_path / "r.toml"
    out.write_text("mine")
    done = run("--out", out)
    assert done.exception.exit_code == 8 and out.read_text() == "mine" and not quick
    assert run("--out", out, "--force").exit_code == 0 and "network" in out.read_text()


def test_a_budget_for_more_than_there_is_says_so(quick, tmp_path):
    done = run("--out", tmp_path / "r.toml", "--budget", "1000ms", "--json")
    printed = json.loads(done.stdout)
    assert printed["chosen"] == SPACE.members[-1].name(3)
    assert any("is the largest there is" in warning for warning in printed["warnings"])


def test_the_processor_is_asked_with_int8_files(tmp_path):
    clock = OnDevice(2, (32, 48), tmp_path, runs=3)
    slow, fast = clock([Member(12, 64), Member(2, 8)])
    assert slow > 2 * fast > 0  # in truth some 20 times
    assert clock.how.startswith("measured by litert 2")
    file = tmp_path / "plain-d12c64-x2-random_int8_32x48.tflite"
    manifest = read_manifest(file)
    assert (manifest.precision, manifest.height, manifest.width) == ("int8", 32, 48)


class Pretend:
    """A device that answers what it is told to."""

    name, suffixes, processes = "pretend", (".tflite",), 2

    def __init__(self, **answer):
        self.answer = {"label": "measured", "samples": (4.0, 5.0, 9.0)} | answer

    def probe(self):
        return {}

    def push(self, payload):
        pass

    def run(self, work):
        return Run(runtime="made up", version="1", placement=Placement.of(1, ()), **self.answer)

    def pull(self):
        return None

    def snapshot(self):
        return {}

    def close(self):
        pass


@pytest.mark.parametrize(
    ("answer", "ms", "how"),
    [
        ({}, 5.0, "measured by made up 1"),
        ({"label": "estimate", "samples": (), "estimate": {"ms": 7.5}}, 7.5, "estimated by made"),
    ],
)
def test_devices_are_asked_by_their_protocol(tmp_path, monkeypatch, answer, ms, how):
    monkeypatch.setattr(measure, "open_device", lambda name: Pretend(**answer))
    clock = OnDevice(2, (32, 48), tmp_path, device="pretend")
    assert clock([Member(2, 8)]) == [ms] and clock.how.startswith(how)


def test_a_device_that_is_not_here_says_so_at_once(quick, tmp_path, monkeypatch):
    class Absent(Pretend):
        def probe(self):
            raise DeviceError("no phone is connected; plug one in")

    monkeypatch.setattr(measure, "open_device", lambda name: Absent())
    done = run("--out", tmp_path / "r.toml", "--device", "adb")
    assert isinstance(done.exception, DeviceError) and not quick


def test_a_device_without_time_is_refused(tmp_path, monkeypatch):
    answer = {"label": "emulated", "samples": ()}
    monkeypatch.setattr(measure, "open_device", lambda name: Pretend(**answer))
    with pytest.raises(UsageError, match="pretend tells no time, its figures are emulated"):
        OnDevice(2, (32, 48), tmp_path, device="pretend")([Member(2, 8)])


def test_a_device_gets_the_files_it_takes(tmp_path, monkeypatch):
    assert OnDevice(2, (32, 48), tmp_path, device="ethos-u65-512").target.name == "ethos-u65-512"
    assert OnDevice(2, (32, 48), tmp_path, device="web:wasm").target.name == "tflite"
    assert OnDevice(2, (32, 48), tmp_path, runtime="ort").target.name == "onnx"
    device = Pretend()
    device.suffixes = (".bin",)
    monkeypatch.setattr(measure, "open_device", lambda name: device)
    with pytest.raises(UsageError, match=r"takes \.bin files"):
        OnDevice(2, (32, 48), tmp_path, device="pretend")


def test_members_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Member(2, 8).depth = 3

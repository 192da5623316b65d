"""From random weights to an int8 file for a phone, by one command; stages and their starts."""

import json
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.data.bicubic import imresize
from edgesr.data.datasets import dataset
from edgesr.errors import BadFileError, CheckpointError, EnvironmentLimitError, UsageError
from edgesr.metrics.psnr import psnr
from edgesr.models import create
from edgesr.models.plain import Plain
from edgesr.network import Network
from edgesr.recipes import read, run, running
from edgesr.runtime import open_session
from edgesr.train.start import quiet_tail, warm_start

TINY = ["steps=4", "batch=2", "patch=16", "warm_up=1", "tail=0.05", "every=2", "kept=1"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.timeout(900)
def test_from_random_weights_to_an_int8_file_in_less_than_three_minutes(tmp_path, cache):
    """The shipped recipe on the shipped photos, as a newcomer would; seconds of one core, since
    a machine that runs tests does other things, too."""
    began = time.process_time()
    out = tmp_path / "run"
    command = ["train", "samples-x2", "--out", str(out), "--cache", str(cache)]
    command += ["--threads", "1", "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert time.process_time() - began < 180
    outcome = json.loads(done.stdout)
    assert outcome["protocol"].startswith("Y (BT.601)")
    assert (out / "plain-s-x2.int8.safetensors").is_file()
    session = open_session(out / "plain-s-x2_int8_96x128.tflite")
    # It has learned: better than the nearest neighbour that it starts from.
    gains = []
    for _, hr in dataset("samples"):
        hr = hr[:192, :256]
        lr = imresize(hr, 0.5)
        nearest = lr.repeat(2, 0).repeat(2, 1)
        gains.append(psnr(session.run(lr), hr, 2) - psnr(nearest, hr, 2))
    assert np.mean(gains) > 0.05


def weights(path):
    return load_file(path)


def test_a_finished_recipe_is_read_and_a_stopped_one_goes_on(photos, cache, tmp_path):
    recipe = read("plain-s-x2", TINY, data=[str(photos)])

    class StopError(Exception):
        pass

    def stop(stage, progress):
        if progress.step == 2:
            raise StopError

    whole = run(recipe, tmp_path / "whole", cache=cache)
    with pytest.raises(StopError):
        run(recipe, tmp_path / "parts", cache=cache, report=stop)
    again = run(recipe, tmp_path / "parts", cache=cache)
    one, two = weights(whole.weights), weights(again.weights)
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    steps = []
    run(recipe, tmp_path / "parts", cache=cache, report=lambda s, p: steps.append(p.step))
    assert steps == []


def test_a_warm_start_from_another_scale(photos, cache, tmp_path):
    """RLFN's: x4 begins with the body of x2, and a restart has a fresh optimizer."""
    path = tmp_path / "warm.toml"
    path.write_text(
        'network = "plain-s-x4"\nkept = 1\n[stage.x2]\nnetwork = "plain-s-x2"\n[stage.x4]\n'
        "[stage.restart]\n"
    )
    seen = []
    recipe = read(str(path), [*TINY, "rate=0.0", "final_rate=0.0"], data=[str(photos)])
    run(recipe, tmp_path / "run", cache=cache, report=lambda s, p: seen.append((s, p.step)))
    assert seen == [(s, n) for s in ("x2", "x4", "restart") for n in (2, 4)]
    states = {
        name: torch.load(tmp_path / "run" / name / "state.pt", weights_only=True)
        for name in ("x2", "x4", "restart")
    }
    # Nothing learns at rate 0: what is equal was handed over.
    for key, value in states["x2"]["average"].items():
        other = states["x4"]["average"][key]
        assert torch.equal(value, other) == (other.shape == value.shape), key
        assert key.startswith("tail") or other.shape == value.shape
        assert torch.equal(other, states["restart"]["average"][key])
    counts = [float(e["step"]) for e in states["restart"]["optimizer"]["state"].values()]
    assert set(counts) == {4.0}


def test_weights_to_start_from(photos, cache, tmp_path):
    torch.manual_seed(5)
    given = create("plain-s-x2")
    checkpoint = tmp_path / "plain-s-x2.safetensors"
    save_file(given.module.state_dict(), checkpoint)
    settings = [*TINY, "rate=0.0", "final_rate=0.0", f"start={checkpoint}"]
    outcome = run(read("plain-s-x2", settings, data=[str(photos)]), tmp_path / "run", cache=cache)
    for key, value in weights(outcome.weights).items():
        assert torch.equal(value, given.module.state_dict()[key])


def test_only_some_parameters_learn(photos, cache, tmp_path):
    torch.manual_seed(6)
    given = create("plain-s-x2")
    checkpoint = tmp_path / "plain-s-x2.safetensors"
    save_file(given.module.state_dict(), checkpoint)
    settings = [*TINY, f"start={checkpoint}", "learn=body.*.square.*"]
    outcome = run(read("plain-s-x2", settings, data=[str(photos)]), tmp_path / "run", cache=cache)
    learned = weights(outcome.weights)
    changed = {k for k, v in given.module.state_dict().items() if not torch.equal(v, learned[k])}
    assert changed == {k for k in learned if k.startswith("body") and ".square." in k}
    nothing = read("plain-s-x2", [*TINY, "learn=nobody"], data=[str(photos)])
    with pytest.raises(UsageError, match=r"`plain-s-x2` is named like learn = `nobody`.*body\.0"):
        run(nothing, tmp_path / "none", cache=cache)


def test_a_start_that_fits_nothing():
    with pytest.raises(CheckpointError, match="no layer of `espcn-x2` fits `plain-s-x2`"):
        warm_start(create("plain-s-x2"), create("espcn-x2"))


def test_a_quiet_tail_begins_at_the_anchor():
    torch.manual_seed(0)
    network = Network(Plain(2, channels=8, blocks=1), "small", 2)
    network.module.eval()
    x = torch.rand(1, 3, 8, 8)
    anchor = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    loud = (network.module(x) - anchor).abs().mean()
    quiet_tail(network, 0.01)
    assert (network.module(x) - anchor).abs().mean() < 0.02 * loud
    with pytest.raises(UsageError, match="no layer `tail`"):
        quiet_tail(create("rlfn-x2"), 0.1)


def test_distillation_by_recipe(photos, cache, tmp_path):
    torch.manual_seed(1)
    teacher = tmp_path / "plain-m-x2.safetensors"
    save_file(create("plain-m-x2").module.state_dict(), teacher)
    settings = [*TINY, "distil=tas", f"teacher={teacher}", "assistant=plain-s-x2"]
    outcome = run(read("plain-s-x2", settings, data=[str(photos)]), tmp_path / "run", cache=cache)
    assert weights(outcome.weights).keys() == create("plain-s-x2").module.state_dict().keys()
    state = torch.load(tmp_path / "run" / "main" / "state.pt", weights_only=True)
    assert any(key.startswith("assistant.") for key in state["objective"])


def test_missing_and_corrupt_photos(photos, cache, tmp_path):
    with pytest.raises(UsageError, match="no training photos: give folders with --data"):
        run(read("plain-s-x2"), tmp_path / "run", cache=cache)
    with pytest.raises(BadFileError, match="no such folder: nowhere"):
        run(read("plain-s-x2", data=["nowhere"]), tmp_path / "run", cache=cache)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(BadFileError, match=r"broken\.png"):
        run(read("plain-s-x2", data=[str(tmp_path / "p")]), tmp_path / "run", cache=cache)


def finished(recipe, out, cache):
    """A whole run, and what it left."""
    run(recipe, out, cache=cache)
    return {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_full_disk_at_the_end_keeps_what_was_there(photos, cache, tmp_path, full_disk):
    recipe = read("plain-s-x2", TINY, data=[str(photos)])
    before = finished(recipe, tmp_path, cache)
    weights_file = tmp_path / "plain-s-x2.safetensors"
    with (
        full_disk(len(before[weights_file]) // 2),
        pytest.raises(EnvironmentLimitError, match=r"cannot write .*plain-s-x2\.safetensors"),
    ):
        run(recipe, tmp_path, cache=cache)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_full_disk_in_qat(photos, cache, tmp_path, full_disk):
    """The state of QAT is larger than the weights before it."""
    recipe = read("plain-s-x2", TINY, data=[str(photos)])
    before = finished(recipe, tmp_path, cache)
    path = tmp_path / "tuned.toml"
    path.write_text(
        'network = "plain-s-x2"\n[stage.main]\n[qat]\nsteps = 2\nevery = 1\npatch = 8\nbatch = 1\n'
    )
    tuned = read(str(path), TINY, data=[str(photos)])
    room = len(before[tmp_path / "plain-s-x2.safetensors"]) + 1000
    wanted = r"cannot write .*plain-s-x2\.int8\.safetensors\.state"
    with full_disk(room), pytest.raises(EnvironmentLimitError, match=wanted):
        run(tuned, tmp_path, cache=cache)
    left = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {p.name for p in before} | {"tuned.toml"}, "half a file was left"
    (tmp_path / "plain-s-x2.int8.safetensors.state").write_bytes(b"PK no state")
    with pytest.raises(BadFileError, match=r"\.state is not the state of a training run, or dam"):
        run(tuned, tmp_path, cache=cache)


@pytest.mark.parametrize(
    ("mistake", "code", "words"),
    [
        ("typo", 3, "typo.toml:2: unknown key `sede`; did you mean `seed`?"),
        ("folder", 3, "no such folder: nowhere"),
        ("image", 3, "broken.png cannot be decoded"),
        ("disk", 9, "cannot write "),
    ],
)
def test_mistakes_end_in_one_sentence(
    photos, tmp_path, monkeypatch, capsys, full_disk, mistake, code, words
):
    from edgesr import cli

    recipe, data = tmp_path / "typo.toml", photos
    recipe.write_text('network = "plain-s-x2"\n' + "sede = 1\n" * (mistake == "typo"))
    if mistake == "folder":
        monkeypatch.chdir(tmp_path)
        data = "nowhere"
    if mistake == "image":
        data = tmp_path / "p"
        data.mkdir()
        whole = (photos / "a.png").read_bytes()
        (data / "broken.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "run"
    command = ["edgesr", "train", str(recipe), "--data", str(data), "--out", str(out)]
    command += ["--cache", str(tmp_path / "cache"), "--threads", "1"]
    monkeypatch.setattr("sys.argv", command)
    with full_disk(50_000 if mistake == "disk" else 10**9), pytest.raises(SystemExit) as ending:
        cli.main()
    assert ending.value.code == code
    error = capsys.readouterr().err
    assert words in error and error.startswith("edgesr: ") and error.count("\n") == 1
    assert not any(p.is_file() for p in (*tmp_path.glob("cache/*"), *tmp_path.glob("run/**/*")))


def test_shipped_recipes_are_listed():
    done = CliRunner().invoke(app, ["train", "list", "--json"], catch_exceptions=False)
    names = [row["recipe"] for row in json.loads(done.stdout)["rows"]]
    assert "ncnet-x3" in names and "samples-x2" in names


def test_the_loop_gets_the_engine_of_the_recipe(photos, cache, tmp_path, monkeypatch):
    seen = []

    def stop(*_, engine, **__):
        seen.append(engine)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "train", stop)
    settings = ["workers=2", 'device="cpu"', 'precision="fp32"', *TINY]
    with pytest.raises(KeyboardInterrupt):
        run(read("plain-s-x2", settings, data=[str(photos)]), tmp_path / "run", cache=cache)
    (engine,) = seen
    assert (engine.device, engine.precision, engine.workers) == ("cpu", "fp32", 2)
    assert engine.channels_last and not engine.compile and not engine.tensorboard


def test_photos_are_reduced_as_the_recipe_says(photos, cache, tmp_path, monkeypatch):
    seen = []

    def stop(network, patches, *_, **__):
        seen.append([hr.shape[0] * hr.shape[1] for _, hr in patches.images()])
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "train", stop)
    for setting in "megapixels=0", "megapixels=0.05":
        recipe = read("plain-s-x2", [setting, *TINY], data=[str(photos)])
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "run", cache=cache)
    whole, reduced = seen
    assert min(whole) > 60_000 and all(48_000 < pixels < 52_000 for pixels in reduced)

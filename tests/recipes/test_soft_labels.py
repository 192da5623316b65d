"""Soft labels: originals averaged with a teacher's answers, computed once, resumable."""

import resource
from threading import Event, Thread

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.data.images import ImageFile, write_image
from edgesr.errors import BadFileError, EnvironmentLimitError, UsageError
from edgesr.models import create
from edgesr.recipes import read, run, soft_labels
from edgesr.recipes.soft_labels import soften
from edgesr.runtime.torch_session import NetworkSession
from edgesr.runtime.upscale import upscale
from edgesr.train.patches import PatchCache


def teacher(seed=0):
    torch.manual_seed(seed)
    network = create("plain-s-x2")
    network.module.eval()
    return network


def test_labels_are_the_mean_of_original_and_answer(photos, tmp_path):
    patches = PatchCache([photos], 2, tmp_path, kept=1)
    soft = soften(patches, teacher())
    session = NetworkSession(teacher())
    for image, (lr, hr) in enumerate(patches.images()):
        want = np.floor((upscale(session, lr).astype(float) + hr) / 2 + 0.5)
        assert np.array_equal(soft._whole(image, soft._labels)[1], want)
    # The same places of the same photos, and originals where one judges.
    (lr, hr), (soft_lr, soft_hr) = patches.batch(0, 8, 16), soft.batch(0, 8, 16)
    assert torch.equal(lr, soft_lr) and not torch.equal(hr, soft_hr)
    assert np.array_equal(soft.held_out()[0][1], patches.held_out()[0][1])
    assert patches.contains(soft.held_out()[0][1])


def test_another_teacher_has_other_labels_and_the_same_is_asked_once(photos, tmp_path):
    patches = PatchCache([photos], 2, tmp_path)
    one, other = soften(patches, teacher()), soften(patches, teacher(seed=1))
    assert not torch.equal(one.batch(0, 4, 16)[1], other.batch(0, 4, 16)[1])
    seen = []
    again = soften(patches, teacher(), patience=0, report=seen.append)
    assert seen == [] and torch.equal(one.batch(0, 4, 16)[1], again.batch(0, 4, 16)[1])


@pytest.mark.parametrize("lost", [0, 1000])
def test_a_stopped_run_goes_on_with_its_photo(photos, tmp_path, lost):
    """Also where the stop came in the middle of a write."""
    whole = soften(PatchCache([photos], 2, tmp_path / "whole"), teacher())

    class StopError(Exception):
        pass

    def stop(labelled):
        if labelled.step == 2:
            raise StopError

    patches = PatchCache([photos], 2, tmp_path / "parts")
    with pytest.raises(StopError):
        soften(patches, teacher(), patience=0, report=stop)
    assert not list((tmp_path / "parts").glob("*.soft"))
    (part,) = (tmp_path / "parts").glob("*.part")
    part.write_bytes(part.read_bytes()[: part.stat().st_size - lost])
    seen = []
    again = soften(
        patches, teacher(), patience=0, report=lambda labelled: seen.append(str(labelled))
    )
    assert len(seen) == (2 if lost else 1) and seen[-1] == "photo 3 of 3, done"
    assert np.array_equal(whole._labels, again._labels)
    assert not part.exists()


def test_of_two_trainings_one_asks_and_the_other_waits(photos, tmp_path):
    patches, seen, waited, heard = PatchCache([photos], 2, tmp_path), [], [], Event()

    def meanwhile(labelled):
        seen.append(labelled.step)
        if len(seen) == 1:
            other.start()
            assert heard.wait(30) and other.is_alive()

    def told(labelled):
        waited.append(str(labelled))
        heard.set()

    patience = {"report": told, "patience": 0.05}
    other = Thread(target=soften, args=(patches, teacher()), kwargs=patience)
    soft = soften(patches, teacher(), patience=0, report=meanwhile)
    other.join()
    assert seen == [1, 2, 3]
    assert waited[0] == "photo 1 of 3, another training's"
    whole = soften(PatchCache([photos], 2, tmp_path / "whole"), teacher())
    assert np.array_equal(soft._labels, whole._labels)


def test_time_left_is_by_pixels(scene, tmp_path, monkeypatch):
    """A photo of twice the area takes twice as long."""
    clock = [0.0]

    def answer(session, lr):
        clock[0] += lr.shape[0] * lr.shape[1]
        return lr.repeat(2, axis=0).repeat(2, axis=1)

    monkeypatch.setattr(soft_labels, "upscale", answer)
    monkeypatch.setattr(soft_labels.time, "monotonic", lambda: clock[0])
    for name, side in (("a", 128), ("b", 256), ("c", 512)):
        write_image(ImageFile(np.resize(scene, (128, side, 3))), tmp_path / f"{name}.png")
    seen = []
    soften(PatchCache([tmp_path], 2, tmp_path / "cache"), teacher(), patience=0, report=seen.append)
    assert [labelled.seconds_left for labelled in seen] == [64 * (128 + 256), 64 * 256, 0]


@pytest.mark.parametrize(("name", "is_for"), [("plain-s-x3", "rgb, x3"), ("sesr-m3-x2", "y, x2")])
def test_teachers_of_another_kind(photos, tmp_path, name, is_for):
    with pytest.raises(UsageError, match=f"need an RGB network for x2; `{name}` is for {is_for}"):
        soften(PatchCache([photos], 2, tmp_path), create(name))


def test_labels_of_another_size_are_refused(photos, tmp_path):
    patches = PatchCache([photos], 2, tmp_path)
    soften(patches, teacher())
    (file,) = tmp_path.glob("*.soft")
    file.write_bytes(file.read_bytes() + bytes(12))
    with pytest.raises(BadFileError, match=r"\.soft holds [\d,]+ bytes, its photos [\d,]+; delete"):
        soften(patches, teacher())


def test_a_full_disk(photos, tmp_path):
    """A limit on file size stands in for it. With room again, it goes on."""
    patches = PatchCache([photos], 2, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(EnvironmentLimitError, match=r"cannot write .*\.soft\.part: File too"):
            soften(patches, teacher())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    whole = soften(PatchCache([photos], 2, tmp_path / "whole"), teacher())
    assert np.array_equal(soften(patches, teacher())._labels, whole._labels)


def test_a_recipe_with_soft_labels(photos, tmp_path):
    path = tmp_path / "teacher.safetensors"
    save_file(teacher().module.state_dict(), path, metadata={"network": "plain-s-x2"})
    recipe = tmp_path / "soft.toml"
    recipe.write_text(
        'network = "plain-s-x2"\nkept = 1\nevery = 2\n[stage.main]\nsteps = 2\nbatch = 2\n'
        f'patch = 16\nsoft_labels = "{path}"\nloss = {{ psnr = 0.007, l2 = 1.25 }}\n'
        "squared_from = 1.0\n"
    )
    command = ["train", str(recipe), "--data", str(photos), "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "main, soft labels: photo 3 of 3, done" in done.output
    assert "main: step 2, loss " in done.output
    assert (tmp_path / "run" / "plain-s-x2.safetensors").is_file()


@pytest.mark.parametrize("key", ["soft_labels", "teacher"])
def test_a_missing_teacher_of_the_last_stage_is_said_before_the_first(photos, tmp_path, key):
    recipe = tmp_path / "soft.toml"
    distil = 'distil = "output"\n' if key == "teacher" else ""
    recipe.write_text(
        'network = "plain-s-x2"\nkept = 1\n[stage.one]\nsteps = 1\n[stage.two]\nsteps = 1\n'
        f'{distil}{key} = "nowhere.pth"\n'
    )
    with pytest.raises(BadFileError, match=r"nowhere\.pth"):
        run(read(str(recipe), data=[str(photos)]), tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def test_a_last_stage_s_teacher_of_another_scale_is_said_before_the_first(photos, tmp_path):
    recipe = tmp_path / "soft.toml"
    recipe.write_text(
        'network = "plain-s-x2"\nkept = 1\n[stage.one]\nsteps = 1\n[stage.two]\nsteps = 1\n'
        'soft_labels = "xlsr-x3"\n'
    )
    with pytest.raises(UsageError, match="need an RGB network for x2; `xlsr-x3` is for rgb, x3"):
        run(read(str(recipe), data=[str(photos)]), tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()

"""`edgesr adapt`: a picture and its kernel in, a larger picture out; mistakes in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.data.bicubic import imresize
from edgesr.data.degradations.gaussian import isotropic_gaussian
from edgesr.data.images import ImageFile, read_image, write_image
from edgesr.errors import BadFileError, OutputExistsError, UsageError
from edgesr.models.mzsr import MZSR


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt")
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    write_image(ImageFile(imresize(noise, 4)), folder / "photo.png")
    np.save(folder / "kernel.npy", isotropic_gaussian(15, 1.4))
    torch.manual_seed(0)
    save_file(MZSR(2).state_dict(), folder / "mzsr.safetensors")
    return folder


def run(work, *options):
    model = [] if "--model" in options else ["--model", str(work / "mzsr.safetensors")]
    command = ["adapt", *map(str, options), *model, "--threads", "1"]
    return CliRunner().invoke(app, command, catch_exceptions=True)


def test_a_picture_is_learned_and_enlarged(work):
    result = run(work, work / "photo.png", "--kernel", work / "kernel.npy", "--json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)["rows"][0]
    assert row["kernel"] == "kernel.npy, 15x15"
    assert row["LR after"] != row["LR before"]
    assert read_image(work / "photo-x2.png").pixels.shape == (96, 128, 3)


def test_steps_change_the_picture_and_zero_steps_do_not_learn(work):
    kernel = ("--kernel", work / "kernel.npy")
    for steps in (0, 1, 3):
        out = work / f"{steps}.png"
        assert run(work, work / "photo.png", out, *kernel, "--steps", steps).exit_code == 0
    none, one, three = (read_image(work / f"{n}.png").pixels.astype(int) for n in (0, 1, 3))
    assert 0 < np.abs(one - none).mean() < np.abs(three - none).mean()


def test_the_kernel_is_estimated_and_kept(work):
    found = work / "found.npy"
    result = run(work, work / "photo.png", work / "e.png", "--save-kernel", found)
    assert result.exit_code == 0, result.output
    assert "estimated" in result.stdout
    assert np.load(found).sum() == pytest.approx(1)


def test_zero_shot_from_nothing(work):
    options = ("--model", "zssr-x3", "--steps", 2, "--kernel", work / "kernel.npy")
    result = run(work, work / "photo.png", work / "z.png", *options)
    assert result.exit_code == 0, result.output
    assert read_image(work / "z.png").pixels.shape == (144, 192, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--kernel", "none.npy"], BadFileError, "does not exist"),
        (["--reduction", "lanczos"], UsageError, "choose direct or bicubic"),
        (["--model", "plain-m-x2"], UsageError, "does not adapt"),
        (["--model", "zssr-x9"], UsageError, "choose zssr-x2"),
    ],
)
def test_mistakes(work, options, error, message):
    result = run(work, work / "photo.png", work / "m.png", *options)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not (work / "m.png").exists()


def test_nothing_is_overwritten(work):
    (work / "there.png").write_bytes(b"kept")
    result = run(work, work / "photo.png", work / "there.png", "--kernel", work / "kernel.npy")
    assert isinstance(result.exception, OutputExistsError)
    assert (work / "there.png").read_bytes() == b"kept"


def test_a_picture_smaller_than_the_kernel(work):
    write_image(ImageFile(np.zeros((10, 40, 3), np.uint8)), work / "small.png")
    result = run(work, work / "small.png", work / "s.png", "--kernel", work / "kernel.npy")
    assert isinstance(result.exception, UsageError)
    assert "the image is 40x10" in str(result.exception)

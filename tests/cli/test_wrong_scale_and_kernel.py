"""Wrong scales, kernels and images end with one sentence that has the cause."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from edgesr.adapt.step import adapt, son_of
from edgesr.cli import app
from edgesr.data.degradations.gaussian import isotropic_gaussian
from edgesr.data.images import ImageFile, write_image
from edgesr.errors import BadFileError, UsageError
from edgesr.models.mzsr import MZSR
from edgesr.scales import checked

COMMANDS = {
    "export": ("export", "arbsr-plain", "--shape", "40x60", "--out", "OUT"),
    "upscale": ("upscale", "PHOTO", "OUT/large.png", "--model", "arbsr-plain"),
    "eval": ("eval", "arbsr-plain", "--data", "PHOTO"),
}


def refused(tmp_path, command, *options):
    """The error that ends the command, nothing written."""
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    if not photo.exists():
        write_image(ImageFile(np.zeros((40, 40, 3), np.uint8)), photo)
    words = [word.replace("PHOTO", str(photo)).replace("OUT", str(out)) for word in command]
    result = CliRunner().invoke(app, [*words, *map(str, options)])
    assert not out.exists()
    return result.exception


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("0", "a scale of 0 is out of reach"),
        ("2x0", "a scale of 0 is out of reach"),
        ("-2", "`-2` is no scale"),
        ("1x9", "a scale of 9 is out of reach"),
        ("abc", "`abc` is no scale"),
        ("1.234", "at most 2 decimals"),
    ],
)
def test_a_wrong_scale(command, scale, words, tmp_path):
    error = refused(tmp_path, command, "--scale", scale)
    assert isinstance(error, UsageError) and error.exit_code == 2
    assert words in str(error)


@pytest.mark.parametrize("scale", [0, -2, (1.0, 9.0), (float("nan"), 2.0), (-1.5, 1.5)])
def test_a_wrong_scale_in_python(scale):
    with pytest.raises(UsageError, match="out of reach"):
        checked(scale)


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (np.ones((15, 15)) / 112.5, "sums to 2; a blur keeps the brightness.*divide it by its sum"),
        (np.zeros((15, 15)), "sums to 0"),
        (np.ones((80, 80)) / 6400, "80x80; kernels up to 65x65 are taken: cut"),
        (np.ones(15) / 15, r"the shape \(15,\); a kernel is a matrix, e.g. 15x15"),
        (np.ones((3, 5, 5)) / 75, r"the shape \(3, 5, 5\)"),
    ],
    ids=["sum 2", "sum 0", "too large", "one row", "three"],
)
def test_a_wrong_kernel(kernel, words, tmp_path):
    np.save(tmp_path / "k.npy", kernel)
    error = refused(tmp_path, ("adapt", "PHOTO", "OUT/x.png", "--kernel", str(tmp_path / "k.npy")))
    assert isinstance(error, BadFileError)
    with pytest.raises(BadFileError, match=words):
        raise error


@pytest.mark.parametrize("size", [(14, 40), (40, 14), (1, 1)])
def test_an_image_smaller_than_the_kernel(size, tmp_path):
    small, kernel = np.zeros((*size, 3), np.uint8), isotropic_gaussian(15, 1.4)
    write_image(ImageFile(small), tmp_path / "photo.png")
    np.save(tmp_path / "k.npy", kernel)
    error = refused(tmp_path, ("adapt", "PHOTO", "OUT/x.png", "--kernel", str(tmp_path / "k.npy")))
    words = f"the image is {size[1]}x{size[0]}, and the 15x15 kernel needs 15 pixels"
    assert isinstance(error, UsageError) and words in str(error)
    for learn in (lambda: adapt(MZSR(2), small, kernel, 1), lambda: son_of(small, kernel, 2)):
        with pytest.raises(UsageError, match=words):
            learn()


def test_an_image_too_small_to_estimate_its_blur(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    write_image(ImageFile(noise), tmp_path / "photo.png")
    error = refused(tmp_path, ("adapt", "PHOTO", "OUT/x.png", "--kernel", "estimate"))
    assert isinstance(error, UsageError) and "give the kernel as a file" in str(error)

"""`edgesr upscale`: files, folders, pipes, refusals, and nothing left half-written."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import save_file

from edgesr.cli.upscale import upscale_command
from edgesr.errors import BadFileError, EdgesrError, OutputExistsError, UsageError
from edgesr.models import create
from edgesr.runtime import NetworkSession, upscale

EDGESR = [sys.executable, "-c", "from edgesr.cli import main; main()", "upscale"]


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    made = create("plain-s-x2")
    made.module.eval().requires_grad_(False)
    return made


@pytest.fixture(scope="session")
def checkpoint(network, tmp_path_factory):
    """Random weights of a Plain net, as a file."""
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file({k: v.contiguous() for k, v in network.module.state_dict().items()}, path)
    return path


@pytest.fixture
def photo(scene, tmp_path):
    path = tmp_path / "in.png"
    Pillow.fromarray(scene).save(path)
    return path


def run(*arguments, **kwargs):
    kwargs = {"capture_output": True, "timeout": 120, **kwargs}
    return subprocess.run([*EDGESR, *map(str, arguments)], **kwargs)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def pixels(path):
    return np.asarray(Pillow.open(path).convert("RGB"))


def test_a_file_is_what_python_makes_of_it(photo, scene, network, checkpoint, tmp_path):
    out = tmp_path / "out.png"
    upscale_command(str(photo), str(out), model=str(checkpoint))
    np.testing.assert_array_equal(pixels(out), upscale(NetworkSession(network), scene))


def test_a_tile_size_changes_nothing(photo, checkpoint, tmp_path):
    for tile, name in ((0, "whole.png"), (16, "tiles.png")):
        upscale_command(str(photo), str(tmp_path / name), model=str(checkpoint), tile=tile)
    np.testing.assert_array_equal(pixels(tmp_path / "whole.png"), pixels(tmp_path / "tiles.png"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_formats(photo, checkpoint, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    upscale_command(str(photo), str(out), model=str(checkpoint), quality=90)
    assert pixels(out).shape == (144, 192, 3)


def test_transparency_and_grey_are_kept(scene, checkpoint, tmp_path):
    alpha = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (72, 1))
    Pillow.fromarray(np.dstack([scene, alpha])).save(tmp_path / "alpha.png")
    Pillow.fromarray(scene[..., 0]).save(tmp_path / "grey.png")
    for name, mode in (("alpha.png", "RGBA"), ("grey.png", "L")):
        out = tmp_path / f"big-{name}"
        upscale_command(str(tmp_path / name), str(out), model=str(checkpoint))
        picture = Pillow.open(out)
        assert (picture.mode, picture.size) == (mode, (192, 144))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
def test_the_smallest_pictures(checkpoint, tmp_path, size):
    Pillow.fromarray(np.full((*size, 3), 90, np.uint8)).save(tmp_path / "in.png")
    upscale_command(str(tmp_path / "in.png"), str(tmp_path / "out.png"), model=str(checkpoint))
    assert pixels(tmp_path / "out.png").shape == (2 * size[0], 2 * size[1], 3)


def test_a_folder_keeps_its_names(scene, checkpoint, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.png", "b.jpg", "c.bmp"):
        Pillow.fromarray(scene).save(source / name)
    (source / "notes.txt").write_text("not a picture")
    out = tmp_path / "out"
    upscale_command(str(source), str(out), model=str(checkpoint))
    assert names(out) == ["a.png", "b.jpg", "c.png"]
    with pytest.raises(OutputExistsError, match="2 more"):
        upscale_command(str(source), str(out), model=str(checkpoint))
    upscale_command(str(source), str(out), model=str(checkpoint), force=True)


def test_a_broken_picture_does_not_stop_the_folder(scene, checkpoint, tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    Pillow.fromarray(scene).save(source / "z.png")
    (source / "broken.png").write_bytes((source / "z.png").read_bytes()[:200])
    with pytest.raises(BadFileError, match=r"1 of 2 pictures failed.*broken\.png"):
        upscale_command(str(source), str(tmp_path / "out"), model=str(checkpoint))
    assert names(tmp_path / "out") == ["z.png"]
    assert "skipped" in capsys.readouterr().err


def test_a_file_into_a_folder(photo, checkpoint, tmp_path):
    (tmp_path / "out").mkdir()
    upscale_command(str(photo), str(tmp_path / "out"), model=str(checkpoint))
    assert names(tmp_path / "out") == ["in.png"]


def test_pipes(photo, scene, network, checkpoint):
    result = run("-", "-", "--model", checkpoint, input=photo.read_bytes())
    assert result.returncode == 0, result.stderr
    want = upscale(NetworkSession(network), scene)
    np.testing.assert_array_equal(pixels(io.BytesIO(result.stdout)), want)


@pytest.mark.parametrize(
    ("source", "target", "options", "error"),
    [
        ("gone.png", "out.png", {}, BadFileError),
        ("text.png", "out.png", {}, BadFileError),
        ("empty", "out", {}, BadFileError),
        ("in.png", "out.bmp", {}, UsageError),
        ("in.png", "in.png", {}, OutputExistsError),
        ("in.png", "out.png", {"tile": -1}, UsageError),
        ("in.png", "out.png", {"runtime": "litert"}, UsageError),
        ("in.png", "out.png", {"model": "nonsense-x3"}, UsageError),
        ("in.png", "out.png", {"model": "gone.tflite"}, BadFileError),
        ("in.png", "out.png", {"model": "gone.onnx"}, BadFileError),
        ("folder", "-", {}, UsageError),
        ("folder", "in.png", {}, UsageError),
        ("twins", "out", {}, UsageError),
    ],
)
def test_mistakes(photo, checkpoint, tmp_path, monkeypatch, source, target, options, error):
    monkeypatch.chdir(tmp_path)
    for folder, files in (("empty", []), ("folder", ["a.png"]), ("twins", ["a.png", "a.bmp"])):
        (tmp_path / folder).mkdir()
        for name in files:
            Pillow.open(photo).save(tmp_path / folder / name)
    (tmp_path / "text.png").write_text("not a picture")
    before = names(tmp_path)
    with pytest.raises(error) as caught:
        upscale_command(source, target, **{"model": str(checkpoint), **options})
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == before


def test_an_unwritable_folder(photo, checkpoint, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EdgesrError) as caught:
        upscale_command(str(photo), str(tmp_path / "file" / "out.png"), model=str(checkpoint))
    assert caught.value.exit_code == 9


def test_disk_full(photo, checkpoint, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    out = tmp_path / "full"
    out.mkdir()
    result = run(photo, out / "out.png", "--model", checkpoint, preexec_fn=limit, text=True)
    assert result.returncode == 9, result.stderr
    assert "Traceback" not in result.stderr and names(out) == []


def test_ctrl_c_leaves_nothing(checkpoint, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    Pillow.fromarray(noise).save(tmp_path / "in.tif")
    out = tmp_path / "out"
    out.mkdir()
    command = [*EDGESR, str(tmp_path / "in.tif"), str(out / "big.png"), "--model", str(checkpoint)]
    process = subprocess.Popen(
        [*command, "--threads", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        # A suite started in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(6)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "Traceback" not in message and names(out) == []

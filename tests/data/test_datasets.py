"""Image sets: found by name or folder, or missed in one clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from edgesr.data import datasets
from edgesr.data.datasets import (
    calibration_images,
    calibration_samples,
    dataset,
    pixel_hash,
)
from edgesr.errors import BadFileError, UsageError


@pytest.fixture(autouse=True)
def no_data(monkeypatch, request):
    if "pack" not in request.keywords:
        monkeypatch.delenv("EDGESR_DATA", raising=False)
        monkeypatch.delenv("EDGESR_PACK", raising=False)


def fill(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        Pillow.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index:02}.png")
    return folder


def test_samples_suit_every_scale():
    images = dict(dataset("samples"))
    assert len(images) >= 4
    for image in images.values():
        assert image.shape[0] % 12 == 0 and image.shape[1] % 12 == 0 and image.shape[2] == 3
    assert max(image.shape[1] for image in images.values()) >= 1000, "one for the demo's panel"


def test_calibration_covers_what_breaks_int8():
    """Black, white, saturated colours, flat and busy patches; and nothing from `samples`."""
    images = list(calibration_samples())
    assert len(images) >= 8
    assert min(image.min() for image in images) == 0
    assert max(np.mean(image >= 254) for image in images) > 0.05
    assert max(np.mean(image <= 2) for image in images) > 0.05
    texture = [np.abs(np.diff(image.astype(int), axis=1)).mean() for image in images]
    assert min(texture) < 2 and max(texture) > 20
    judged = {pixel_hash(image) for _, image in dataset("samples")}
    assert judged.isdisjoint(map(pixel_hash, images))


def test_samples_are_small_and_credited():
    files = [path for path in datasets.SAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    readme = (datasets.SAMPLES / "README.md").read_text()
    for path in files:
        if path.name != "README.md":
            assert f"{path.parent.name}/{path.name}" in readme


@pytest.mark.parametrize(
    "inside", ["Set5", "eval/Set5", "data/eval/Set5", "Set5/HR", "Set5/original"]
)
@pytest.mark.parametrize("variable", ["EDGESR_DATA", "EDGESR_PACK"])
def test_benchmarks_are_found(tmp_path, monkeypatch, inside, variable):
    fill(tmp_path / inside, 5)
    monkeypatch.setenv(variable, str(tmp_path))
    assert len(dataset("SET5")) == 5


def test_an_incomplete_benchmark_is_refused(tmp_path, monkeypatch):
    fill(tmp_path / "Set5", 4)
    monkeypatch.setenv("EDGESR_DATA", f"/nonexistent:{tmp_path}")
    with pytest.raises(BadFileError, match="holds 4 images, set5 has 5"):
        dataset("set5")


def test_a_missing_benchmark_says_where_to_put_it():
    with pytest.raises(BadFileError, match=r"\$EDGESR_DATA/Set14.*or give a folder"):
        dataset("set14")


def test_folders_and_single_files(tmp_path, noise):
    folder = fill(tmp_path / "photos", 3)
    (folder / "notes.txt").touch()
    Pillow.fromarray(noise[..., 0]).save(folder / "grey.png")
    images = dict(dataset(folder))
    assert list(images) == ["00", "01", "02", "grey"]
    assert np.array_equal(images["grey"], np.repeat(noise[..., :1], 3, axis=2))
    assert dict(dataset(folder / "01.png")).keys() == {"01"}
    assert len(list(calibration_images(folder))) == 4


def test_bad_folders(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadFileError, match="no images in"):
        dataset(empty)
    with pytest.raises(BadFileError, match="no images in"):
        calibration_images(empty)
    fill(empty / "deeper", 1)
    with pytest.raises(BadFileError, match=r"there are some in .*deeper"):
        dataset(empty)
    with pytest.raises(UsageError, match="did you mean `set14`"):
        dataset("sett14")
    with pytest.raises(UsageError, match="known sets: set5"):
        dataset("nowhere/at/all")
    (empty / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BadFileError, match=r"broken\.png"):
        list(dataset(empty))


def test_pixel_hash_is_of_the_picture(tmp_path, noise):
    for suffix in ("png", "tif"):
        Pillow.fromarray(noise).save(tmp_path / f"a.{suffix}")
    assert len({pixel_hash(image) for _, image in dataset(tmp_path)}) == 1
    assert pixel_hash(noise) != pixel_hash(noise.reshape(48, 36, 3))
    changed = noise.copy()
    changed[5, 5, 1] ^= 1
    assert pixel_hash(noise) != pixel_hash(changed)


@pytest.mark.pack
def test_the_pack_is_found_and_apart(pack: Path, monkeypatch):
    monkeypatch.setenv("EDGESR_PACK", str(pack))
    monkeypatch.delenv("EDGESR_DATA", raising=False)
    for name, benchmark in datasets.BENCHMARKS.items():
        assert len(dataset(name)) == benchmark.count
    judged = {pixel_hash(image) for _, image in dataset("set14")}
    assert judged.isdisjoint(map(pixel_hash, calibration_samples()))

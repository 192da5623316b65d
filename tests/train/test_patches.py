"""Patches: the same ones for the same step, of the same place; what is wrong with files is said."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.errors import BadFileError, EnvironmentLimitError, UsageError
from edgesr.train.patches import PatchCache, luma


def test_patches_are_lr_and_hr_of_the_same_place(cache):
    lr, hr = cache.batch(step=3, size=4, patch=24)
    assert lr.shape == (4, 3, 24, 24) and hr.shape == (4, 3, 48, 48)
    for small, large in zip(lr, hr, strict=True):
        image = (large.permute(1, 2, 0) * 255).byte().numpy()
        again = imresize(image, 0.5).astype(np.float32) / 255
        inner = np.s_[4:-4, 4:-4]  # the patch's own border lacks its neighbours
        assert np.abs(again - small.permute(1, 2, 0).numpy())[inner].max() <= 1.5 / 255


def test_a_step_decides_its_batch(cache):
    assert torch.equal(cache.batch(5, 2, 16)[0], cache.batch(5, 2, 16)[0])
    assert not torch.equal(cache.batch(5, 2, 16)[0], cache.batch(6, 2, 16)[0])
    assert not torch.equal(cache.batch(5, 2, 16, 0)[0], cache.batch(5, 2, 16, 1)[0])


def test_kept_images_are_not_trained_on(photos, cache, tmp_path):
    own = PatchCache([photos], 2, tmp_path, kept=1)
    ((lr, hr),) = own.held_out()
    assert hr.shape == (200, 150, 3) and np.array_equal(lr, imresize(hr, 0.5))
    assert own._share.tolist() == [0, 1] and cache.held_out() == []
    with pytest.raises(BadFileError, match="2 images are too few to keep 2"):
        PatchCache([photos], 2, tmp_path, kept=2)


def test_a_cache_knows_its_images(cache, photos):
    image = np.array(Image.open(photos / "b.png"))
    assert cache.contains(image)
    assert not cache.contains(image[:, ::-1]) and not cache.contains(image[:-2])


def test_large_images_are_reduced(photos, cache, tmp_path):
    whole, small = (np.array(Image.open(photos / f"{name}.png")) for name in "ab")
    own = PatchCache([photos], 2, tmp_path, megapixels=0.025)
    assert own.stem.name != cache.stem.name
    (_, first), (_, second) = own.images()
    factor = (25_000 / (200 * 150)) ** 0.5
    assert np.array_equal(first, crop_to_multiple(imresize(whole, factor), 2))
    assert np.array_equal(second, crop_to_multiple(small, 2))
    assert own.contains(whole) and own.contains(small) and not own.contains(whole[:, ::-1])


def test_the_cache_is_built_once(photos, cache, tmp_path):
    first = PatchCache([photos], 2, tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = PatchCache([photos], 2, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == stamps
    assert torch.equal(first.batch(0, 2, 16)[1], again.batch(0, 2, 16)[1])


def test_no_images(tmp_path):
    with pytest.raises(BadFileError, match="no images"):
        PatchCache([tmp_path], 2, tmp_path / "cache")


def test_luma_patches_are_the_y_of_bt601(cache):
    lr, _ = cache.batch(0, 2, 16)
    y = luma(lr)
    by_hand = (65.481 * lr[:, 0] + 128.553 * lr[:, 1] + 24.966 * lr[:, 2] + 16) / 255
    assert y.shape == (2, 1, 16, 16)
    assert (y[:, 0] - by_hand).abs().max() <= 0.5 / 255 + 1e-6


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadFileError, match=r"no such folder: .*nowhere"):
        PatchCache([tmp_path / "nowhere"], 2, tmp_path / "cache")


def test_a_corrupt_image_is_named_and_leaves_nothing(photos, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFileError, match=r"b\.png cannot be decoded"):
        PatchCache([folder], 2, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_leaves_nothing(photos, tmp_path, full_disk):
    with full_disk(100_000), pytest.raises(EnvironmentLimitError, match="cannot write"):
        PatchCache([photos], 2, tmp_path)
    assert list(tmp_path.iterdir()) == []
    PatchCache([photos], 2, tmp_path)


def test_images_smaller_than_a_patch(cache, photos, tmp_path):
    with pytest.raises(UsageError, match=r"patch of 66 does not fit .* 65 pixels"):
        cache.batch(0, 1, 66)
    with pytest.raises(BadFileError, match=r"all 2 images are too small: .* at least 256 pixels"):
        PatchCache([photos], 4, tmp_path)
    with pytest.raises(BadFileError, match=r"at least 128 pixels, also after `megapixels = 0\.01`"):
        PatchCache([photos], 2, tmp_path, megapixels=0.01)

"""Training: the same patches for the same step, the same weights after a stop, a falling loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from edgesr.data.bicubic import imresize
from edgesr.errors import BadFileError
from edgesr.models import create
from edgesr.models.plain import Plain
from edgesr.train.loop import Progress, Schedule, train, validate
from edgesr.train.patches import PatchCache, luma

SCHEDULE = Schedule(steps=6, batch=2, patch=16, warm_up=2, squared_from=0.5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a": (200, 150), "b": (131, 166)}.items():
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def cache(photos, tmp_path_factory):
    return PatchCache([photos], 2, tmp_path_factory.mktemp("cache"))


def fresh():
    torch.manual_seed(0)
    return Plain(2, channels=8, blocks=1)


def weights(module):
    return torch.cat([p.flatten() for p in module.state_dict().values()])


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


def test_the_cache_is_built_once(photos, cache, tmp_path):
    first = PatchCache([photos], 2, tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = PatchCache([photos], 2, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == stamps
    assert torch.equal(first.batch(0, 2, 16)[1], again.batch(0, 2, 16)[1])


def test_no_images(tmp_path):
    with pytest.raises(BadFileError, match="no images"):
        PatchCache([tmp_path], 2, tmp_path / "cache")


def test_a_stopped_run_ends_with_the_same_weights(cache, tmp_path):
    whole = train(fresh(), cache, tmp_path / "whole", SCHEDULE, every=6)

    class StopError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise StopError

    with pytest.raises(StopError):
        train(fresh(), cache, tmp_path / "stopped", SCHEDULE, every=2, report=stop)
    torch.manual_seed(99)  # a new process has another state
    resumed = train(Plain(2, 8, 1), cache, tmp_path / "stopped", SCHEDULE, every=2)
    assert torch.equal(weights(whole), weights(resumed))


def test_the_loss_falls_and_the_log_says_so(cache, photos, tmp_path):
    seen: list[Progress] = []
    schedule = replace(SCHEDULE, steps=60, squared_from=1.0, rate=2e-3)
    average = train(
        fresh(), cache, tmp_path, schedule, validation=photos, every=20, report=seen.append
    )
    assert seen[-1].loss < seen[0].loss
    assert seen[-1].validation == pytest.approx(validate(average, [*photos.iterdir()], 2), abs=1e-6)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert not average.training


def test_the_rate_warms_up_and_falls():
    schedule = Schedule(steps=1000, warm_up=100, rate=1e-3, final_rate=1e-6)
    assert schedule.rate_at(0) == pytest.approx(1e-5)
    assert schedule.rate_at(100) == pytest.approx(1e-3)
    assert schedule.rate_at(550) == pytest.approx((1e-3 + 1e-6) / 2)
    assert schedule.rate_at(1000) == pytest.approx(1e-6)


def test_luma_networks_train_on_luma(cache, tmp_path):
    network = create("espcn-x2")
    schedule = Schedule(steps=3, batch=2, patch=16, warm_up=1)
    average = train(network.module, cache, tmp_path, schedule, colour="y", every=3)
    assert all(torch.isfinite(value).all() for value in average.state_dict().values())
    lr, _ = cache.batch(0, 2, 16)
    y = luma(lr)
    by_hand = (65.481 * lr[:, 0] + 128.553 * lr[:, 1] + 24.966 * lr[:, 2] + 16) / 255
    assert y.shape == (2, 1, 16, 16)
    assert (y[:, 0] - by_hand).abs().max() <= 0.5 / 255 + 1e-6

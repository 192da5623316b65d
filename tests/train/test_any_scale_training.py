"""Training for any scale: what teachers pass on, and going on after a stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from edgesr.errors import UsageError
from edgesr.models import create
from edgesr.train.any_scale import Photos, train
from edgesr.train.transfer import Transfer, warm_start

TEACHERS = {"arbsr-plain": "plain-m-x2", "arbsr-edsr-baseline": "edsr-baseline-x2"}


@pytest.fixture(params=TEACHERS)
def pair(request):
    """Student and teacher, both with random weights."""
    torch.manual_seed(0)
    return create(f"{request.param}-x2"), create(TEACHERS[request.param])


def run(network, transfer, scale):
    network.module.scale = scale
    x = torch.rand(1, 3, 12, 16) * network.value_range
    network.module(x)
    return transfer(x, scale)


def test_a_student_starts_with_its_teachers_features(pair):
    network, teacher = pair
    transfer = Transfer({2: teacher}, network.module.train())
    assert run(network, transfer, 2) > 1e-3
    warm_start(network.module, teacher)
    assert run(network, transfer, 2) < 1e-6


def test_no_teacher_no_transfer(pair):
    network, teacher = pair
    transfer = Transfer({2: teacher}, network.module.train())
    assert run(network, transfer, 3) == 0
    assert run(network, transfer, (1.5, 2.5)) == 0


def test_what_the_student_learns_reaches_its_body(pair):
    network, teacher = pair
    student = network.module.train().requires_grad_(True)
    run(network, Transfer({2: teacher}, student), 2).backward()
    moved = {name.split(".")[0] for name, p in student.named_parameters() if p.grad is not None}
    assert "trunk" in moved
    assert "upsample" not in moved


def test_a_teacher_of_another_kind():
    with pytest.raises(UsageError, match="features are of another kind"):
        warm_start(create("arbsr-plain-x2").module, create("edsr-baseline-x2"))


@pytest.mark.parametrize("start", ["plain-m-x3", "arbsr-plain-x2"])
def test_a_start_of_another_kind(start, photos, tmp_path):
    with pytest.raises(UsageError, match="another kind"):
        train(photos, tmp_path, network="arbsr-edsr-baseline", start=start, steps=1)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        small = Image.fromarray(rng.integers(0, 256, (24, 26, 3), np.uint8))
        small.resize((260, 250), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return Photos([folder])


def test_a_stopped_run_ends_with_the_same_weights(photos, tmp_path):
    options = {"teachers": ("plain-m-x3",), "batch": 1, "every": 1}
    whole = train(photos, tmp_path / "whole", steps=3, **options).state_dict()
    with pytest.MonkeyPatch.context() as patch:
        stop = iter([None, None])
        drawn = photos.batch
        patch.setattr(photos, "batch", lambda *args: (next(stop), drawn(*args))[1])
        with pytest.raises(StopIteration):
            train(photos, tmp_path / "stopped", steps=3, **options)
    resumed = train(photos, tmp_path / "stopped", steps=3, **options).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_edsr_learns_from_a_checkpoint(photos, tmp_path):
    torch.manual_seed(0)
    teacher = tmp_path / "edsr-baseline-x2.safetensors"
    save_file(create("edsr-baseline-x2").module.state_dict(), teacher)
    options = {"network": "arbsr-edsr-baseline", "teachers": (str(teacher),), "batch": 1}
    trained = train(photos, tmp_path / "run", steps=2, **options)
    moved = (trained.head.weight - load_file(teacher)["head.weight"]).abs().max()
    assert 0 < moved < 1e-3, "the body is the teacher's, and learns"

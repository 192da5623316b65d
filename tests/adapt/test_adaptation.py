"""Learning from one image: what a step is, what it brings, and when it is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgesr.adapt.meta import MetaSchedule, adapted, meta_loss, meta_train
from edgesr.adapt.self_training import SelfTraining, self_train
from edgesr.adapt.step import RATE, adapt, as_batch, enlarge, placed, son_of
from edgesr.adapt.tasks import KernelTasks
from edgesr.data.bicubic import imresize
from edgesr.data.datasets import dataset
from edgesr.data.degradations.gaussian import anisotropic_gaussian, blur_downscale
from edgesr.errors import BadFileError, UsageError
from edgesr.metrics.psnr import psnr
from edgesr.models.mzsr import MZSR
from edgesr.models.zssr import zssr

KERNEL = anisotropic_gaussian(15, 2.0, 2.0, 0.0)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> MZSR:
    return MZSR(2, channels=4, layers=3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(3)
    return imresize(rng.integers(0, 256, (20, 24, 3), np.uint8), 4)


def test_one_step_is_plain_gradient_descent_on_the_reduced_image(tiny, photo):
    learned = adapt(tiny, photo, KERNEL, 1)
    by_hand = placed(tiny, KERNEL).train().requires_grad_(True)
    son, low = as_batch(son_of(photo, KERNEL, 2)), as_batch(photo)
    F.l1_loss(by_hand(son), low).backward()
    with torch.no_grad():
        for ours, parameter in zip(learned.parameters(), by_hand.parameters(), strict=True):
            torch.testing.assert_close(ours, parameter - RATE * parameter.grad)


@pytest.mark.filterwarnings("error")
def test_a_decoded_photo_is_read_only(tiny, photo):
    photo = photo.copy()
    photo.flags.writeable = False
    enlarge(adapt(tiny, photo, KERNEL, 1), photo)


def test_the_given_network_stays_as_it_is(tiny, photo):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    place = tiny.enlarge.weight.clone()
    adapt(tiny, photo, KERNEL, 2)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert torch.equal(tiny.enlarge.weight, place)


def test_an_image_smaller_than_the_kernel_is_refused(tiny, photo):
    with pytest.raises(UsageError, match="15x15 kernel needs 15 pixels"):
        adapt(tiny, photo[:12], KERNEL, 1)
    with pytest.raises(UsageError, match="15x15 kernel"):
        next(self_train(tiny, photo[:, :14], KERNEL))


@pytest.mark.parametrize("shift", [0.0, 0.5, -0.5])
def test_enlargement_follows_the_kernels_centre(shift, tiny):
    """A linear ramp survives blur and enlargement wherever the kernel has its centre."""
    ramp = np.tile(np.arange(20, 200, 2, dtype=np.uint8)[None, :, None], (90, 1, 3))
    kernel = anisotropic_gaussian(15, 1.5, 1.5, 0.0, shift=shift)
    with torch.no_grad():
        low = blur_downscale(ramp.astype(np.float32) / 255, kernel, 2)
        x = torch.from_numpy(low).permute(2, 0, 1)[None]
        fine = placed(tiny, kernel).enlarge(x)[0].permute(1, 2, 0).numpy()
    inner = np.s_[12:-12, 12:-12]
    np.testing.assert_allclose(fine[inner], ramp[inner] / 255, atol=1e-3)


def test_zero_shot_training_learns_from_the_image_alone():
    """A few dozen steps of a small network from nothing: better on the image than bicubic."""
    photo = dict(dataset("samples"))["gates"][160:320, 160:320]
    low = blur_downscale(photo, KERNEL, 2)
    start = zssr(2, channels=16, layers=4)
    baseline = placed(start, KERNEL).eval()
    *_, learned = self_train(start, low, KERNEL, SelfTraining(steps=60, crop=48, rate=4e-3))
    son = son_of(low, KERNEL, 2)
    assert psnr(enlarge(learned, son), low, 2) > psnr(enlarge(baseline, son), low, 2) + 0.1
    assert psnr(enlarge(learned, low), photo, 2) > psnr(enlarge(baseline, low), photo, 2)


# --- meta-training ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tasks(photo):
    return KernelTasks([photo, photo[::-1].copy()], 2, patch=32)


def test_a_task_is_decided_by_its_random_numbers(tasks):
    one, same = (tasks.draw(np.random.default_rng(7), 2) for _ in range(2))
    assert torch.equal(one.high, same.high) and np.array_equal(one.kernel, same.kernel)
    assert [tuple(t.shape) for t in (one.son, one.low, one.high)] == [
        (2, 3, 8, 8), (2, 3, 16, 16), (2, 3, 32, 32)
    ]  # fmt: skip
    patch = (one.high[1].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    low = (one.low[1].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(blur_downscale(patch, one.kernel, 2), low)


@pytest.mark.parametrize("second_order", [False, True])
def test_meta_gradient(tiny, tasks, second_order):
    """Second order is the true derivative of the loss after the steps; first order is not."""
    module = tiny.double().train().requires_grad_(True)
    task = tasks.draw(np.random.default_rng(1), 2)
    task = type(task)(task.kernel, task.son.double(), task.low.double(), task.high.double())
    module.enlarge.weight = module.enlarge.weight.double()
    schedule = MetaSchedule(inner_rate=0.2, second_order=second_order)
    weight = module.convs[1].weight
    (gradient,) = torch.autograd.grad(meta_loss(module, task, schedule, 2), weight)
    direction = torch.randn_like(weight)
    eps = 1e-6
    with torch.no_grad():
        weight += eps * direction
    above = meta_loss(module, task, schedule, 2)
    with torch.no_grad():
        weight -= 2 * eps * direction
    below = meta_loss(module, task, schedule, 2)
    numeric = float((above - below).detach() / (2 * eps))
    analytic = float((gradient * direction).sum())
    assert (analytic == pytest.approx(numeric, rel=1e-3)) == second_order


def test_steps_by_external_pairs_do_not_see_the_son(tiny, tasks):
    module = tiny.train().requires_grad_(True)
    task = tasks.draw(np.random.default_rng(1), 4)
    other = type(task)(task.kernel, torch.zeros_like(task.son), task.low, task.high)
    for external in (True, False):
        schedule = MetaSchedule(external=external, inner_rate=0.1)
        same = torch.equal(
            meta_loss(module, task, schedule, 1), meta_loss(module, other, schedule, 1)
        )
        assert same == external


def test_adapted_yields_every_step(tiny):
    module = tiny.train().requires_grad_(True)
    low, high = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16)
    weights = dict(module.named_parameters())
    assert len(list(adapted(module, weights, low, high, (0.1, 0.1, 0.1)))) == 3


class StopError(Exception):
    """The machine goes down."""


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_training_goes_on_where_it_stopped(tmp_path, tasks, optimizer):
    if optimizer == "soap":
        pytest.importorskip("pytorch_optimizer")
    schedule = MetaSchedule(
        steps=4, tasks=1, patches=2, inner_steps=(0, 1), optimizer=optimizer, rate=1e-2
    )

    def run(folder, judge=None):
        torch.manual_seed(0)
        return meta_train(MZSR(2, channels=4, layers=3), tasks, folder, schedule,
                          judge=judge, every=2)  # fmt: skip

    def stop(module):
        raise StopError

    once = run(tmp_path / "once")
    with pytest.raises(StopError):
        run(tmp_path / "twice", stop)
    assert torch.load(tmp_path / "twice" / "state.pt", weights_only=True)["step"] == 2
    stopped = run(tmp_path / "twice")
    again = run(tmp_path / "once")  # nothing left to do
    for a, b, c in zip(once.parameters(), stopped.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    log = (tmp_path / "once" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", "2", "4"]


def test_what_cannot_be_trained_on(photo):
    with pytest.raises(UsageError, match="multiple of 4"):
        KernelTasks([photo], 2, patch=30)
    with pytest.raises(BadFileError, match="no photo has 256"):
        KernelTasks([photo], 2, patch=256)

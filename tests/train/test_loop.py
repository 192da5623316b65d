"""Training: the same weights after a stop, a falling loss, logs that tell what happened."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from edgesr.bfloat16 import is_fast
from edgesr.errors import BadFileError, CheckpointError, EnvironmentLimitError, UsageError
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.models import create
from edgesr.models.plain import Plain
from edgesr.network import Network
from edgesr.train.loop import Engine, Progress, Schedule, train
from edgesr.train.objective import Reconstruction
from edgesr.train.patches import PatchCache
from edgesr.train.validation import PsnrOn, enlarge

SCHEDULE = Schedule(steps=6, batch=2, patch=16, warm_up=2)


class StopError(Exception):
    """What a test stops a run with."""


class WithStatistics(nn.Module):
    """Batch norm and dropout: buffers and random numbers must survive a stop, too."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.2), nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


class Learned(nn.Module):
    """An objective with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, student, lr, hr, done):
        return (self.gain * student(lr) - hr).abs().mean()


def fresh(kind=Plain, seed=0):
    torch.manual_seed(seed)
    module = Plain(2, channels=8, blocks=1) if kind is Plain else kind()
    return Network(module, "small", 2)


def weights(module):
    return torch.cat([p.flatten().double() for p in module.state_dict().values()])


def stop_at(step):
    def stop(progress: Progress) -> None:
        if progress.step == step:
            raise StopError

    return stop


@pytest.mark.parametrize("kind", [Plain, WithStatistics])
@pytest.mark.parametrize("objective", [Reconstruction, Learned])
def test_a_stopped_run_ends_with_the_same_weights(cache, tmp_path, kind, objective):
    whole = train(fresh(kind), cache, tmp_path / "whole", SCHEDULE, every=6, objective=objective())
    with pytest.raises(StopError):
        train(
            fresh(kind), cache, tmp_path / "stopped", SCHEDULE, every=2, objective=objective(),
            report=stop_at(4),
        )  # fmt: skip
    # A new process has other random numbers and weights.
    resumed = train(
        fresh(kind, seed=99), cache, tmp_path / "stopped", SCHEDULE, every=2, objective=objective()
    )
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(whole), weights(fresh(kind).module))


KILLED = """
import sys, torch
from pathlib import Path
from edgesr.models.plain import Plain
from edgesr.network import Network
from edgesr.train.loop import Schedule, train
from edgesr.train.patches import PatchCache
torch.set_num_threads(1)
photos, cache, out = map(Path, sys.argv[1:])
torch.manual_seed(0)
train(Network(Plain(2, 8, 1), "small", 2), PatchCache([photos], 2, cache), out,
      Schedule(steps=100_000, batch=2, patch=16, warm_up=2), every=7)
"""


def test_a_killed_process_leaves_a_state_to_go_on_from(photos, tmp_path):
    """Killed at any moment, not where it was convenient."""
    cache = PatchCache([photos], 2, tmp_path / "cache")
    out, state = tmp_path / "killed", tmp_path / "killed" / "state.pt"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(photos), str(tmp_path / "cache"), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = torch.load(state, weights_only=True)["step"]
    assert reached % 7 == 0 and reached > 0
    schedule = replace(SCHEDULE, steps=100_000, warm_up=2)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for folder in (out, tmp_path / "whole"):
            with pytest.raises(StopError):
                train(fresh(), cache, folder, schedule, every=7, report=stop_at(reached + 7))
    finally:
        torch.set_num_threads(threads)
    ends = [torch.load(f / "state.pt", weights_only=True) for f in (out, tmp_path / "whole")]
    assert ends[0]["step"] == ends[1]["step"] == reached + 7
    for name, value in ends[0]["average"].items():
        assert torch.equal(value, ends[1]["average"][name]), name


def test_the_loss_falls_and_the_log_says_so(cache, photos, tmp_path):
    seen: list[Progress] = []
    schedule = replace(SCHEDULE, steps=60, rate=2e-3)
    judge = PsnrOn.folder(photos, 2)
    average = train(
        fresh(), cache, tmp_path, schedule, objective=Reconstruction(squared_from=1.0),
        validation=judge, every=20, report=seen.append,
    )  # fmt: skip
    assert seen[-1].loss < seen[0].loss
    assert not average.training
    by_hand = [psnr(enlarge(average, lr, "rgb"), hr, 2) for lr, hr in judge.pairs]
    assert seen[-1].validation == pytest.approx(np.mean(by_hand), abs=1e-9)
    assert seen[-1].protocol == str(LITERATURE)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "40", "60"]
    assert float(rows[-1]["validation_db"]) == pytest.approx(seen[-1].validation, abs=1e-4)
    assert rows[-1]["protocol"] == str(LITERATURE)


def test_the_grid_shows_bicubic_network_and_original(cache, photos, tmp_path):
    judge = PsnrOn.folder(photos, 2)
    train(fresh(), cache, tmp_path, replace(SCHEDULE, steps=1), validation=judge)
    grid = np.array(Image.open(tmp_path / "pictures.png"))
    assert grid.shape == (2 * 96, 3 * 96, 3)
    hr = judge.pairs[0][1]
    top, left = (hr.shape[0] - 96) // 2, (hr.shape[1] - 96) // 2
    np.testing.assert_array_equal(grid[:96, 192:], hr[top : top + 96, left : left + 96])


def test_a_resumed_log_has_every_line_once(cache, tmp_path):
    with pytest.raises(StopError):
        train(fresh(), cache, tmp_path, SCHEDULE, every=2, report=stop_at(4))
    train(fresh(), cache, tmp_path, SCHEDULE, every=2)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "2", "4", "6"]


def test_tensorboard_holds_the_same_figures(cache, photos, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[Progress] = []
    train(
        fresh(), cache, tmp_path, SCHEDULE, validation=PsnrOn.folder(photos, 2), every=3,
        report=seen.append, engine=Engine(tensorboard=True),
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (p.step, pytest.approx(p.loss)) for p in seen
    ]
    (name,) = [tag for tag in events.Tags()["scalars"] if tag.startswith("PSNR")]
    assert events.Scalars(name)[-1].value == pytest.approx(seen[-1].validation)
    assert events.Tags()["images"]


def test_rates():
    cosine = Schedule(steps=1000, warm_up=100, rate=1e-3, final_rate=1e-6)
    assert cosine.rate_at(0) == pytest.approx(1e-5)
    assert cosine.rate_at(100) == pytest.approx(1e-3)
    assert cosine.rate_at(550) == pytest.approx((1e-3 + 1e-6) / 2)
    assert cosine.rate_at(1000) == pytest.approx(1e-6)
    steps = replace(cosine, shape="step", milestones=(0.5, 0.8), factor=0.1)
    assert steps.rate_at(0) == pytest.approx(1e-5)
    assert [steps.rate_at(s) for s in (499, 500, 799, 800)] == pytest.approx(
        [1e-3, 1e-4, 1e-4, 1e-5]
    )


def test_luma_networks_train_on_luma(cache, tmp_path):
    shapes = []

    def objective(student, lr, hr, done):
        shapes.append((lr.shape, hr.shape))
        return (student(lr) - hr).abs().mean()

    schedule = Schedule(steps=3, batch=2, patch=16, warm_up=1)
    average = train(create("espcn-x2"), cache, tmp_path, schedule, objective=objective)
    assert shapes == [((2, 1, 16, 16), (2, 1, 32, 32))] * 3
    assert all(torch.isfinite(value).all() for value in average.state_dict().values())


def test_the_loss_is_in_pixels_of_0_to_1_whatever_the_network_takes(cache, tmp_path):
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, x):
            assert x.max() > 2
            return self.gain * nn.functional.interpolate(x, scale_factor=2)

    seen: list[Progress] = []
    network = Network(Large(), "large", 2, value_range=255.0)
    train(network, cache, tmp_path, replace(SCHEDULE, steps=1), report=seen.append)
    lr, hr = cache.batch(0, 2, 16)
    by_hand = (nn.functional.interpolate(lr, scale_factor=2) - hr).abs().mean()
    assert seen[0].loss == pytest.approx(float(by_hand), rel=1e-3)


def test_gradients_are_shortened(cache, tmp_path):
    """Adam forgets the size of a gradient, its second moment does not."""
    moments = {}
    for clip in (0.0, 1e-3):
        out = tmp_path / str(clip)
        train(fresh(), cache, out, replace(SCHEDULE, steps=1, clip=clip))
        state = torch.load(out / "state.pt", weights_only=True)["optimizer"]["state"]
        moments[clip] = sum(float(entry["exp_avg_sq"].sum()) for entry in state.values())
    # Second moments are (1 - 0.99) of squared gradients.
    assert moments[1e-3] == pytest.approx(0.01 * 1e-6, rel=1e-2)
    assert moments[0.0] > 100 * moments[1e-3]


def test_the_average_is_exponential(cache, tmp_path):
    seen = []
    network = fresh()

    def objective(student, lr, hr, done):
        seen.append(weights(student.module).clone())
        return (student(lr) - hr).abs().mean()

    schedule = replace(SCHEDULE, averaging=0.5)
    average = train(network, cache, tmp_path, schedule, objective=objective)
    expected = seen[0]
    for step, new in enumerate([*seen[1:], weights(network.module)]):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * new
    assert torch.allclose(weights(average), expected, atol=1e-6)


@pytest.mark.parametrize("workers", [0, 3])
def test_threads_change_nothing(cache, tmp_path, workers):
    one = train(fresh(), cache, tmp_path / "one", SCHEDULE)
    many = train(fresh(), cache, tmp_path / "n", SCHEDULE, engine=Engine(workers=workers))
    assert torch.equal(weights(one), weights(many))


def test_precision(cache, tmp_path):
    seen = []

    def objective(student, lr, hr, done):
        seen.append(torch.is_autocast_enabled("cpu"))
        for given, made in zip((lr, hr), cache.batch(0, 2, 16), strict=True):
            assert torch.equal(given, made)  # whatever is rounded, the images are not
        return (student(lr) - hr).abs().mean()

    schedule = replace(SCHEDULE, steps=1)
    for precision in ("bf16", "fp32", "auto"):
        engine = Engine(device="cpu", precision=precision)
        train(fresh(), cache, tmp_path / precision, schedule, objective=objective, engine=engine)
    assert seen == [True, False, is_fast()]


def test_bfloat16_is_taken_where_the_processor_has_it(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has)
        assert Engine().mixed("cpu") == is_fast() == has
        assert Engine(precision="bf16").mixed("cpu") and not Engine(precision="fp32").mixed("cpu")
    assert is_fast("cuda")


def test_a_full_disk_keeps_the_last_state(cache, tmp_path, full_disk):
    train(fresh(), cache, tmp_path, replace(SCHEDULE, steps=2))
    before = (tmp_path / "state.pt").read_bytes()
    with full_disk(5_000), pytest.raises(EnvironmentLimitError, match=r"cannot write .*state\.pt"):
        train(fresh(), cache, tmp_path, SCHEDULE, every=2)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_states_that_do_not_fit(cache, tmp_path):
    train(fresh(), cache, tmp_path, replace(SCHEDULE, steps=2))
    with pytest.raises(CheckpointError, match="of another network"):
        train(fresh(WithStatistics), cache, tmp_path, SCHEDULE)
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(BadFileError, match="damaged"):
        train(fresh(), cache, tmp_path, SCHEDULE)


def test_divergence_is_said(cache, tmp_path):
    def objective(student, lr, hr, done):
        return (student(lr) - hr).abs().mean() * float("nan")

    with pytest.raises(CheckpointError, match="diverged before step 6"):
        train(fresh(), cache, tmp_path, SCHEDULE, objective=objective)
    assert not (tmp_path / "state.pt").exists()


def test_no_such_device(cache, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match="cannot train on `cuda`"):
        train(fresh(), cache, tmp_path, SCHEDULE, engine=Engine(device="cuda"))

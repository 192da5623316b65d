"""Quantization-aware training: better than it began, the same after a stop, never worse."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize import QParams, integer, qat
from edgesr.quantize.assign import assign
from edgesr.quantize.forms import spell
from edgesr.quantize.qat import Options, adapt
from edgesr.quantize.store import read
from PIL import Image
from small_networks import conv, photo, randomize
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from edgesr.data.colour import split
from edgesr.errors import CheckpointError, UsageError
from edgesr.graph import input_of, output_of, run_recording, trace
from edgesr.network import Network
from edgesr.targets import INT8_FORMS
from edgesr.train.patches import PatchCache

OPTIONS = Options(steps=40, batch=2, patch=16, every=10, rate=0.1, range_rate=0.1)


class Small(nn.Module):
    """Enlarges by two; the features take part in every pixel."""

    def __init__(self, channels=3):
        super().__init__()
        self.head, self.tail = conv(channels, 8), conv(8, 4 * channels)

    def forward(self, x):
        y = self.tail(F.relu(self.head(x))) + x.repeat_interleave(4, dim=1)
        return F.pixel_shuffle(y, 2).clamp(0.0, 1.0)


def coarse_start(colour="rgb", widening=60.0):
    """A small network whose ranges were chosen far too wide."""
    torch.manual_seed(0)
    channels = 3 if colour == "rgb" else 1
    module = randomize(Small(channels)).eval()
    module.tail.weight.mul_(0.05)
    network = Network(module, "small", 2, colour=colour)
    graph = spell(lower(trace(network), INT8_FORMS))
    image = torch.from_numpy(photo(64, 64)).permute(2, 0, 1)[None, :channels] / 255
    values = run_recording(graph, image)
    ranges = {name: (float(v.min()), float(v.max())) for name, v in values.items()}
    (features,) = [n.name for n in graph.graph.nodes if n.target is torch.ops.aten.relu.default]
    ranges[features] = (0.0, widening * ranges[features][1])
    return assign(graph, network, ranges)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(4):
        Image.fromarray(photo(140, 160, seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def cache(photos, tmp_path_factory):
    return PatchCache([photos], 2, tmp_path_factory.mktemp("cache"), kept=1)


def run(start, cache, state, options=OPTIONS, **more):
    return adapt(start, cache, options, validation=cache.held_out(), state=state, **more)


def numbers(quantized):
    weights = [t for w in quantized.weights.values() for t in (w.weight, w.bias, w.scale)]
    return [*(t.tolist() for t in weights), quantized.activations]


@pytest.fixture(scope="module")
def start():
    return coarse_start()


@pytest.fixture(scope="module")
def outcome(start, cache, tmp_path_factory):
    return run(start, cache, tmp_path_factory.mktemp("run") / "state")


def test_training_wins_back_what_coarse_ranges_lost(start, outcome, cache):
    lost = outcome.float_psnr - outcome.start_psnr
    assert lost > 0.05, "the start must have something to win back"
    assert outcome.float_psnr - outcome.best_psnr < 0.5 * lost
    assert outcome.improved and "shave = scale" in outcome.protocol
    pairs = cache.held_out()
    again = qat._quality(lambda x: integer.run(outcome.quantized, x), pairs, start.network)
    assert again == outcome.best_psnr, "the figure is the result's own"
    assert outcome.quantized.calibration["steps"] == [f"QAT {outcome.best_step} steps on 4 images"]
    assert start.calibration == {}


def test_a_stop_in_the_middle_changes_nothing(start, outcome, cache, tmp_path):
    state = tmp_path / "small.state"
    for stop in (10, 30):  # while ranges are learned, and after

        def interrupt(progress, stop=stop):
            if progress.step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(start, cache, state, report=interrupt)
        assert [p.name for p in tmp_path.iterdir()] == ["small.state"]
    seen = []
    again = run(start, cache, state, report=lambda progress: seen.append(progress.step))
    assert seen == [40]
    assert numbers(again.quantized) == numbers(outcome.quantized)
    assert (again.best_step, again.best_psnr) == (outcome.best_step, outcome.best_psnr)
    assert not state.exists()


def test_a_state_of_other_options_is_not_taken_over(start, cache, tmp_path):
    state = tmp_path / "small.state"

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(start, cache, state, report=interrupt)
    with pytest.raises(UsageError, match=r"small\.state is the state of a run with other options"):
        run(start, cache, state, replace(OPTIONS, rate=0.2))


def test_what_gets_worse_is_not_returned(cache, tmp_path):
    start = coarse_start(widening=1.0)
    outcome = run(start, cache, tmp_path / "s", replace(OPTIONS, rate=300.0, steps=10))
    assert not outcome.improved
    assert outcome.quantized is start and outcome.best_psnr == outcome.start_psnr


def test_frozen_ends_stay_pixels(outcome):
    known = outcome.quantized.activations
    graph = outcome.quantized.graph
    for node in (input_of(graph), output_of(graph)):
        assert known[node.name] == QParams(float(np.float32(1 / 255)), -128)


def test_luma_networks_learn_from_luma(cache, tmp_path):
    start = coarse_start("y")
    codes, hr = qat._batch(cache, 3, OPTIONS, start.network)
    lr_rgb, hr_rgb = cache.batch(3, OPTIONS.batch, OPTIONS.patch, OPTIONS.seed)
    for luma, rgb in ((codes[1, 0] + 128, lr_rgb[1]), (hr[1, 0] * 255, hr_rgb[1])):
        image = (rgb.permute(1, 2, 0) * 255).round().byte().numpy()
        assert np.array_equal(luma.numpy(), split(image)[0][..., 0])
    outcome = run(start, cache, tmp_path / "s", replace(OPTIONS, distil=0.0, steps=20))
    assert outcome.best_psnr > outcome.start_psnr


def test_evaluation_images_are_refused(start, cache, tmp_path):
    with pytest.raises(UsageError, match="160x140 is among the training images"):
        run(start, cache, tmp_path / "s", forbidden=[photo(140, 160, seed=2)])


def test_the_original_alone_can_teach(start, cache, tmp_path):
    outcome = run(start, cache, tmp_path / "s", replace(OPTIONS, distil=0.0, steps=20))
    assert outcome.best_psnr > outcome.start_psnr


def test_mistakes_are_named(start, photos, cache, tmp_path):
    with pytest.raises(UsageError, match="no validation image"):
        adapt(start, cache, OPTIONS, validation=[], state=tmp_path / "s")
    other = replace(start, network=replace(start.network, scale=3))
    with pytest.raises(UsageError, match="patches are x2, `small` is x3"):
        run(other, cache, tmp_path / "s")
    other = replace(start, network=replace(start.network, pad_multiple=3))
    with pytest.raises(UsageError, match="--patch 16"):
        run(other, cache, tmp_path / "s")
    with pytest.raises(CheckpointError, match="diverged at step 1"):
        broken = coarse_start()
        next(broken.graph.parameters()).fill_(torch.nan)
        run(broken, cache, tmp_path / "s")


def test_the_command_writes_a_file_that_reads_back(start, photos, tmp_path):
    import typer
    from edgesr.quantize.store import save

    from edgesr.cli.quantize_qat import qat_command

    app = typer.Typer()
    app.command()(qat_command)
    save(start, tmp_path / "start.int8.safetensors")
    out = tmp_path / "runs" / "small.int8.safetensors"
    arguments = [
        str(tmp_path / "start.int8.safetensors"), "--data", str(photos), "--out", str(out),
        "--cache", str(tmp_path / "cache"), "--steps", "20", "--batch", "2", "--patch", "16",
        "--rate", "0.1", "--range-rate", "0.1", "--validation", "1", "--threads", "1", "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert row["after"] > row["before"]
    assert read(out).calibration["steps"] == ["QAT 20 steps on 4 images"]
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name]

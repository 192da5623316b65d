"""The file that learns: one gradient step in LiteRT equals torch's; save and restore work."""

from __future__ import annotations

import importlib.util
import subprocess

import numpy as np
import pytest
import torch
from edgesr.export.training import PYTHON, Learner, export_training, tensorflow_python

from edgesr.adapt.step import adapt, as_batch
from edgesr.data.bicubic import imresize
from edgesr.data.degradations.gaussian import anisotropic_gaussian
from edgesr.errors import EnvironmentLimitError, OutputExistsError, UsageError
from edgesr.models.intake import load
from edgesr.models.mzsr import MZSR
from edgesr.network import Network

SHAPE = (24, 32)
KERNEL = anisotropic_gaussian(15, 3.0, 1.5, 0.4)


def network() -> Network:
    torch.manual_seed(0)
    module = MZSR(2, channels=8, layers=4).eval().requires_grad_(False)
    return Network(module, "mzsr-tiny-x2", 2)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small network's file. In CI without TensorFlow there is nothing to test."""
    try:
        python = tensorflow_python()
    except EnvironmentLimitError as error:
        pytest.skip(f"files that learn are written by TensorFlow: {error}")
    if subprocess.run([python, "-c", "import tensorflow"], capture_output=True).returncode:
        pytest.skip(f"{python} has no TensorFlow that starts")
    return export_training(network(), shape=SHAPE, out=tmp_path_factory.mktemp("training"))


@pytest.fixture
def photo():
    return imresize(np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8), 4)


def test_steps_in_litert_are_torchs(written, photo):
    """Three steps on, with a kernel that is the same in no two directions: every weight is equal
    to a hundredth of what it moved by, and the image to 1e-4."""
    learner, module = Learner(written.path), network().module
    for _ in range(3):
        learner.adapt(photo, KERNEL, 0.05)
    learned = adapt(module, photo, KERNEL, 3)
    weights = learner.save()
    for index, conv in enumerate(learned.convs):
        ours = conv.weight.permute(2, 3, 1, 0).numpy()
        moved = np.abs(ours - module.convs[index].weight.permute(2, 3, 1, 0).numpy()).max()
        assert moved > 0
        assert np.abs(weights[f"weight_{index}"] - ours).max() < 0.01 * moved
    expected = learned(as_batch(photo))[0].permute(1, 2, 0)
    np.testing.assert_allclose(learner.infer(photo), expected, atol=1e-4)


def test_loss_is_the_one_before_the_step(written, photo):
    learner = Learner(written.path)
    assert learner.shape == SHAPE
    losses = [learner.adapt(photo, KERNEL, 0.05) for _ in range(6)]
    assert losses[-1] < losses[0]


def test_what_was_saved_is_restored_in_a_fresh_session(written, photo):
    first = Learner(written.path)
    start = first.infer(photo)
    first.adapt(photo, KERNEL, 0.1)
    after, kept = first.infer(photo), first.save()
    assert np.abs(after - start).max() > 1e-3
    second = Learner(written.path)
    np.testing.assert_array_equal(second.infer(photo), start)
    second.restore(kept)
    np.testing.assert_array_equal(second.infer(photo), after)


def test_only_operators_that_litert_has(written):
    assert not [name for name in written.operators if name.startswith("Flex")]
    assert written.difference < 1e-4 < written.moved


def test_mistakes(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="`plain-m-x2` has no on-device training"):
        export_training(load("plain-m-x2"), shape=SHAPE, out=tmp_path)
    with pytest.raises(UsageError, match="at least 15"):
        export_training(network(), shape=(14, 32), out=tmp_path)
    (tmp_path / "mzsr-tiny-x2_training_24x32.tflite").touch()
    with pytest.raises(OutputExistsError, match="--force"):
        export_training(network(), shape=SHAPE, out=tmp_path)
    monkeypatch.setenv(PYTHON, "/no/such/python")
    with pytest.raises(EnvironmentLimitError, match=PYTHON):
        export_training(network(), shape=SHAPE, out=tmp_path, force=True)


def test_without_tensorflow_it_says_what_to_install(monkeypatch):
    monkeypatch.delenv(PYTHON, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentLimitError, match="pip install"):
        tensorflow_python()

"""Optimizers: kernels of any shape, steps that curvature does not slow, resumable state."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from train.test_loop import SCHEDULE, StopError, fresh, stop_at, weights

from edgesr.errors import EnvironmentLimitError
from edgesr.train.loop import train
from edgesr.train.optimizer import optimizer_for

SHAPES = [
    (),
    (7,),
    (1,),
    (1, 1, 1, 1),
    (2, 1, 1, 1),
    (1, 8, 3, 3),
    (8, 1, 3, 3),
    (16, 16, 3, 3),
    (27, 5, 1, 1),
    (4, 6),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_soap_takes_kernels_of_any_shape(shape):
    torch.manual_seed(0)
    kernel = nn.Parameter(1 + torch.randn(shape))
    began = kernel.detach().square().mean()
    optimizer = optimizer_for([kernel], "soap", 0.02)
    for _ in range(12):  # the bases turn after ten steps
        optimizer.zero_grad()
        kernel.square().sum().backward()
        optimizer.step()
    assert torch.isfinite(kernel).all()
    assert kernel.square().mean() < began


def test_soap_is_not_slowed_by_inputs_of_unlike_strength():
    """Least squares whose inputs are mixed: Adam scales single weights, SOAP turns them first."""
    torch.manual_seed(0)
    mix = torch.linalg.qr(torch.randn(24, 24))[0] @ torch.diag(torch.logspace(0, -2, 24))
    inputs, wanted = torch.randn(512, 24) @ mix.T, torch.randn(8, 24)
    left = {}
    for name in ("adam", "soap"):
        kernel = nn.Parameter(torch.zeros(8, 24))
        optimizer = optimizer_for([kernel], name, 0.05)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (inputs @ (kernel - wanted).T).square().mean()
            loss.backward()
            optimizer.step()
        left[name] = loss.item()
    assert left["soap"] < left["adam"] / 2, left


def test_a_stopped_run_of_soap_ends_with_the_same_weights(cache, tmp_path):
    schedule = replace(SCHEDULE, steps=24, optimizer="soap", rate=3e-3)
    whole = train(fresh(), cache, tmp_path / "whole", schedule, every=24)
    with pytest.raises(StopError):
        train(fresh(), cache, tmp_path / "stopped", schedule, every=12, report=stop_at(12))
    resumed = train(fresh(seed=99), cache, tmp_path / "stopped", schedule, every=12)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer.optimizer.soap", None)
    with pytest.raises(EnvironmentLimitError, match=r"pip install 'edgesr\[train\]'"):
        optimizer_for([nn.Parameter(torch.ones(2, 2))], "soap", 0.01)

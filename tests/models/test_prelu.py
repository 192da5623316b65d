"""PReLU spelled for training is PReLU: values and gradients."""

import pytest
import torch
from torch import nn

from edgesr.models.prelu import PReLU


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_training_and_torch_agree(precision):
    torch.manual_seed(0)
    ours, theirs = PReLU(5).train(), nn.PReLU(5)
    with torch.no_grad():
        ours.weight.copy_(torch.tensor([0.25, 0.0, -0.5, 1.0, 2.0]))
    theirs.load_state_dict(ours.state_dict())
    ours, theirs = ours.to(precision), theirs.to(precision)
    image, answer = torch.randn(2, 5, 7, 6), torch.randn(2, 5, 7, 6)
    found = []
    for module in (ours, theirs):
        x = image.to(precision).requires_grad_()
        y = module(x)
        y.backward(answer.to(precision))
        found.append((y, x.grad, module.weight.grad))
    loose = 0.02 if precision is torch.bfloat16 else 1e-12
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=loose, atol=loose)


def test_autocast_keeps_bfloat16():
    with torch.autocast("cpu", torch.bfloat16):
        assert PReLU(3).train()(torch.ones(1, 3, 2, 2).bfloat16()).dtype is torch.bfloat16


def test_in_evaluation_it_is_torch_s_own():
    traced = torch.jit.trace(PReLU(3).eval(), torch.ones(1, 3, 2, 2))
    assert "prelu" in str(traced.graph) and "relu(" not in str(traced.graph).replace("prelu(", "")

"""Recursive: kernels that are used several times and stored once."""

from __future__ import annotations

import pytest
import torch
from edgesr.export import export
from torch.nn import functional as F

from edgesr.analysis import analyse
from edgesr.collapse import collapse
from edgesr.models import create
from edgesr.models.intake import load
from edgesr.train.start import warm_start

NAMES = ["recursive-s-x2", "recursive-s-x3", "recursive-l-x2"]


def written_out(module, x, scale):
    """The network as one line per operator, of its weights alone."""
    shallow = F.conv2d(x, module.head.weight, module.head.bias, padding=1)
    features = shallow
    for steps in module.passes:
        if steps is not module.passes[0]:
            features = features + shallow
        for kernel, step in zip(module.kernels, steps, strict=True):
            features = F.conv2d(features, kernel, step.bias, padding=1)
            slopes = step.act.weight[:, None, None]
            features = torch.where(features > 0, features, features * slopes)
    features = F.conv2d(features + shallow, module.tail.weight, module.tail.bias, padding=1)
    anchor = F.interpolate(x, scale_factor=scale, mode="nearest")
    return (F.pixel_shuffle(features, scale) + anchor).clamp(0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_pass_uses_the_same_kernels(name):
    network = create(name)
    module = network.module.double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator).double()
    x = torch.rand(1, 1, 9, 13, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(module(x), written_out(module, x, network.scale))


@pytest.mark.parametrize("name", NAMES)
def test_a_shared_kernel_counts_once_and_multiplies_in_every_pass(name):
    network = create(name)
    module = network.module
    found = analyse(collapse(network)[0], 64, 64)
    assert found.parameters == sum(parameter.numel() for parameter in module.parameters())
    kernels = sum(kernel.numel() for kernel in module.kernels) * len(module.passes)
    ends = module.head.weight.numel() + module.tail.weight.numel()
    assert found.macs == 64 * 64 * (kernels + ends)


@pytest.mark.parametrize(
    ("passes", "order"),
    [(1, [0, 0, 0, 0]), (2, [0, 1, 1, 1]), (3, [0, 1, 1, 2]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3])],
)
def test_more_passes_begin_with_the_weights_of_fewer(passes, order):
    few, more = create(f"recursive-k2c6p{passes}-x2"), create("recursive-k2c6p4-x2")
    for parameter in few.module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    warm_start(more, few)
    given = [steps.state_dict() for steps in few.module.passes]
    for steps, source in zip(more.module.passes, order, strict=True):
        torch.testing.assert_close(steps.state_dict(), given[source], rtol=0, atol=0)
    for part in ("head", "kernels", "tail"):
        mine, theirs = (getattr(net.module, part).state_dict() for net in (more, few))
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_other_kernels_begin_as_far_as_they_fit():
    torch.manual_seed(0)
    few, more = create("recursive-k2c6p1-x2"), create("recursive-k3c6p2-x2")
    warm_start(more, few)
    fits = [
        torch.equal(a, b) for a, b in zip(more.module.kernels, few.module.kernels, strict=False)
    ]
    assert fits == [True, True]


def test_every_pass_has_biases_and_slopes_of_its_own():
    module = create("recursive-s-x2").module
    assert (len(module.kernels), len(module.passes)) == (2, 7)
    own = {tensor.data_ptr() for tensor in module.passes.parameters()}
    assert len(own) == 2 * 7 * 2


@pytest.mark.parametrize("target", ["onnx", "tflite", "openvino"])
def test_files_store_a_shared_kernel_once(target, tmp_path):
    network = load("random:recursive-s-x2")
    path = export(network, target=target, precision="fp32", out=tmp_path, shape=(32, 32)).path
    weights = path.with_suffix(".bin") if target == "openvino" else path
    floats = 4 * analyse(network).parameters
    # Fresh slopes are equal, so of these too one copy is enough.
    assert 0.95 * floats < weights.stat().st_size < 1.25 * floats

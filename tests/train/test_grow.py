"""A plain network that begins as a smaller one computes what that one does."""

from __future__ import annotations

import pytest
import torch

from edgesr.errors import CheckpointError
from edgesr.models import create
from edgesr.network import Network
from edgesr.train.start import warm_start


def random(name: str) -> Network:
    network = create(name)
    for parameter in network.module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def outputs(*networks: Network, x: torch.Tensor) -> list[torch.Tensor]:
    # In training mode nothing is clipped.
    with torch.no_grad():
        return [network.module.double().train()(x.double()) for network in networks]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("plain-l-x2", "ncnet-x2"),
        ("plain-d6c64-x4", "ncnet-x4"),
        ("plain-l-x3", "plain-m-x3"),
        ("plain-d6c16-x2", "plain-s-x2"),
        ("plain-y-m-x3", "plain-y-d4c16-x3"),
    ],
)
def test_the_same_function(name, source):
    torch.manual_seed(0)
    small, large = random(source), random(name)
    warm_start(large, small)
    one, two = outputs(small, large, x=torch.rand(1, small.channels, 9, 11))
    assert one.std() > 0.1
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)


def test_colour_to_luma():
    torch.manual_seed(1)
    small, large = random("ncnet-x3"), random("plain-y-m-x3")
    warm_start(large, small)
    grey = torch.rand(1, 1, 9, 11)
    (rgb,) = outputs(small, x=grey.expand(1, 3, 9, 11))
    (luma,) = outputs(large, x=grey)
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.double)
    expected = torch.einsum("c,nchw->nhw", weights / weights.sum(), rgb)[:, None]
    torch.testing.assert_close(luma, expected, rtol=1e-5, atol=1e-5)


def test_new_channels_can_learn():
    torch.manual_seed(2)
    small, large = create("ncnet-x2"), create("plain-l-x2")
    warm_start(large, small)
    x = torch.rand(2, 3, 24, 24)
    for _ in range(2):  # the first step opens what the layer before sends
        large.module.train().zero_grad()
        large.module(x).square().mean().backward()
        with torch.no_grad():
            for parameter in large.module.parameters():
                parameter -= 1e-2 * parameter.grad
    for block in large.module.body[1:]:
        moved = block.square.weight.grad.abs().sum((2, 3)) > 0
        assert moved[:, 32:].any() and moved[32:].any()


def test_another_scale_of_the_same_size_is_taken_by_name():
    small, large = random("plain-s-x2"), random("plain-s-x3")
    warm_start(large, small)
    given, own = small.module.state_dict(), large.module.state_dict()
    same = {key for key in own if torch.equal(given[key], own[key])}
    assert same == {key for key in own if key.startswith("body")}


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("plain-m-x2", "ncnet-x2", "3-32-32-32-32-32-12 channels.*as 3-32-32-32-32-32-12-12"),
        ("plain-m-x3", "plain-l-x3", "`plain-m-x3` cannot begin as `plain-l-x3`"),
        ("plain-d5c32-x3", "plain-l-x3", "as many, and as wide"),
        ("plain-d6c32-x3", "plain-y-m-x3", "`plain-y-m-x3`, which knows luma only"),
    ],
)
def test_a_network_does_not_shrink(name, source, message):
    with pytest.raises(CheckpointError, match=message):
        warm_start(create(name), create(source))

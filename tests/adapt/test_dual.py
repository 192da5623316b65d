"""Dual regression: what is compared with what, and that the heads are gone afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgesr.export import export
from torch.nn import functional as F

from edgesr.adapt.dual import DualRegression, pyramid
from edgesr.data.bicubic import imresize
from edgesr.errors import UsageError
from edgesr.graph import aten, is_call, trace
from edgesr.models.drn import DRN
from edgesr.models.mzsr import MZSR
from edgesr.network import Network
from edgesr.train.unit import Unit


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> DRN:
    return DRN(4, channels=4, blocks=1)


LR, HR = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 32, 32)


def test_the_loss_is_equation_one(tiny):
    objective = DualRegression(4, weight=0.1)
    small, middle, large = (image / 255 for image in tiny.images(LR * 255))
    half = pyramid(HR, 2)[0]
    primal = F.l1_loss(small, LR) + F.l1_loss(middle, half) + F.l1_loss(large, HR)
    down, down_twice = objective.heads.heads[1](large), objective.heads.heads[0](middle)
    dual = F.l1_loss(down_twice, LR) + F.l1_loss(down, half)
    torch.testing.assert_close(objective(Unit(tiny, 255.0), LR, HR, 0.0), primal + 0.1 * dual)


def test_without_weight_the_heads_learn_nothing(tiny):
    objective = DualRegression(4, weight=0.0)
    objective(Unit(tiny, 255.0), LR, HR, 0.0).backward()
    assert all(parameter.grad is None for parameter in objective.parameters())
    assert tiny.tails[0].weight.grad is not None


def test_unpaired_photos_teach_through_the_heads_only(tiny):
    """With a ratio of 0.4 two unpaired patches join three pairs; their originals are unknown."""
    photo = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    seen = []
    tiny.enlarge.register_forward_hook(lambda module, args, result: seen.append(len(args[0])))

    def loss(weight, unpaired):
        torch.manual_seed(1)
        objective = DualRegression(4, weight=weight, unpaired=unpaired, ratio=0.4)
        return objective(Unit(tiny, 255.0), LR, HR, 0.0)

    assert torch.isclose(loss(0.0, [photo]), loss(0.0, []))
    assert not torch.isclose(loss(0.1, [photo]), loss(0.1, []))
    assert seen == [5, 3, 5, 3]


def test_what_makes_no_sense(tiny):
    with pytest.raises(UsageError, match="share of 1"):
        DualRegression(4, ratio=1.0)
    with pytest.raises(UsageError, match="drn-s"):
        DualRegression(2)(Unit(MZSR(2, 4, 2)), LR, F.avg_pool2d(HR, 2), 0.0)
    small = DualRegression(4, unpaired=[np.zeros((4, 9, 3), np.uint8)])
    with pytest.raises(UsageError, match="9x4, smaller than a patch of 8x8"):
        small(Unit(tiny, 255.0), LR, HR, 0.0)


def test_pyramid_is_bicubic_reduction():
    image = np.random.default_rng(1).random((24, 32, 3)).astype(np.float32)
    half = pyramid(torch.from_numpy(image).permute(2, 0, 1)[None], 2)[0]
    inner = np.s_[3:-3, 3:-3]  # PyTorch does not mirror
    ours = half[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours[inner], imresize(image, 0.5)[inner], atol=1e-6)


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_every_target_runs_it(tiny, tmp_path, target):
    network = Network(tiny.eval(), "drn-tiny-x4", 4, value_range=255.0, exact_tiling=False)
    parity = export(network, target=target, shape=(16, 24), out=tmp_path).manifest.parity
    assert parity["max_difference"] <= parity["tolerance"]


def test_small_images_are_no_part_of_the_graph(tiny):
    network = Network(tiny.eval(), "drn-tiny-x4", 4, value_range=255.0, exact_tiling=False)
    found = sum(is_call(node, aten.conv2d.default) for node in trace(network).graph.nodes)
    convs = sum(isinstance(module, torch.nn.Conv2d) for module in tiny.modules())
    assert found == convs - 2 + 1  # two small images less; the enlargement is a convolution

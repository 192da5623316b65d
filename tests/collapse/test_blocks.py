"""Training blocks as strangers write them: each is one convolution, and no class is named.

Only `nn.Conv2d`, `nn.BatchNorm2d`, `nn.AvgPool2d`, `+`, `cat` and padding are used, with the
statistics and scales a trained network would have (not zero mean, not unit variance).
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_blocks import (
    BLOCKS,
    DBB,
    ACNet,
    Frame,
    RepVGG,
    conv_bn,
    convs,
    network,
    trained,
    worst,
)

from edgesr.collapse import collapse
from edgesr.collapse.hooks import reparameterized
from edgesr.graph import layer_of
from edgesr.models import create

aten = torch.ops.aten
C, OUT = 4, 6
torch.set_num_threads(1)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_one_convolution(name):
    source = network(Frame(copy.deepcopy(BLOCKS[name])))
    if hasattr(source.module.block, "mask"):
        source.module.block.mask = BLOCKS[name].mask
    plain, certificate = collapse(source)
    assert len(convs(plain.module)) == certificate.convs_after == 2
    assert {n.target for n in plain.module.graph.nodes if n.op == "call_function"} == {
        aten.conv2d.default,
        aten.relu.default,
    }
    assert certificate.exact and not certificate.kept
    assert certificate.macs_after < certificate.macs_before
    module = copy.deepcopy(source.module)
    if hasattr(module.block, "mask"):
        module.block.mask = module.block.mask.double()
    assert worst(module, plain.module) < 2e-6


def test_a_grouped_block_stays_grouped():
    plain, _ = collapse(network(Frame(RepVGG(groups=C))))
    assert convs(plain.module)[1].args[6] == C


def test_layers_keep_readable_names():
    plain, _ = collapse(network(Frame(RepVGG())))
    assert set(plain.module.state_dict()) == {
        "head.weight", "head.bias", "block.weight", "block.bias"
    }  # fmt: skip


@pytest.mark.parametrize(("name", "layers"), [("ecbsr-m4c8-x2", 6), ("sesr-m3-x2", 5)])
def test_published_blocks(name, layers):
    source = create(name)
    _, certificate = collapse(source.with_module(trained(source.module)))
    assert certificate.exact and certificate.convs_after == layers


def test_a_pair_is_called_as_its_convolution():
    plain, _ = collapse(network(nn.Sequential(conv_bn(3, 1, 4, channels=3), nn.ReLU())))
    assert set(plain.module.state_dict()) == {"0.0.weight", "0.0.bias"}
    (conv,) = convs(plain.module)
    assert layer_of(conv) == "0.0"


def test_the_source_is_not_changed():
    source = network(Frame(DBB()))
    before = copy.deepcopy(source.module.state_dict())
    wanted = {name: p.requires_grad for name, p in source.module.named_parameters()}
    collapse(source)
    for name, tensor in source.module.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype
    assert {name: p.requires_grad for name, p in source.module.named_parameters()} == wanted


def test_collapsing_twice_changes_nothing():
    plain, _ = collapse(network(Frame(ACNet())))
    again, certificate = collapse(plain)
    assert certificate.exact and not certificate.rules
    assert certificate.parameters_before == certificate.parameters_after
    image = torch.rand(1, 3, 5, 7)  # smaller than what was traced
    assert torch.equal(plain.module(image), again.module(image))


def test_long_residual_streams_take_no_time():
    """The stream of a deep residual network is the sum of all its blocks; it is not composed."""

    class Stream(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 1))
                for _ in range(12)
            )

        def forward(self, x):
            for block in self.blocks:
                x = x + block(x)
            return x

    plain, certificate = collapse(network(Stream()))
    assert certificate.exact and certificate.macs_after == certificate.macs_before
    assert len(convs(plain.module)) == 24


# --- input and output arithmetic --------------------------------------------------------------


class Ranges(nn.Module):
    """A 0..255 image through a network for 0..1, mean subtracted after its first convolution."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)
        self.mean = nn.Parameter(torch.rand(1, 3, 1, 1))

    def forward(self, x):
        y = self.tail(F.relu(self.head(x / 255)))
        return (F.pixel_shuffle(y, 2) * 2 - self.mean) * 255 + 1


def test_ranges_fold_into_the_first_and_last_convolution():
    plain, certificate = collapse(network(Ranges(), value_range=255.0))
    calls = [n.target for n in plain.module.graph.nodes if n.op == "call_function"]
    conv, relu, shuffle = aten.conv2d.default, aten.relu.default, aten.pixel_shuffle.default
    assert calls == [conv, relu, conv, shuffle]
    assert certificate.exact


class Unshuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(F.pixel_unshuffle(x, 2)), 2)


def test_pixel_unshuffle_folds_into_a_strided_convolution():
    plain, certificate = collapse(network(Unshuffled(), pad_multiple=2))
    (conv,) = convs(plain.module)
    assert conv.args[3:5] == ([2, 2], [2, 2])
    assert certificate.exact and certificate.macs_after == certificate.macs_before


# --- networks that fuse themselves ------------------------------------------------------------


class Deployable(nn.Module):
    """Two linear convolutions that know how to become one; wrongly at the border if asked."""

    def __init__(self, wrong=False):
        super().__init__()
        self.wrong = wrong
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1))

    def forward(self, x):
        return F.relu(self.layers(x))

    def switch_to_deploy(self):
        first, second = self.layers
        fused = nn.Conv2d(3, 3, 3, padding=1).to(first.weight.dtype)
        matrix = second.weight[:, :, 0, 0]
        fused.weight.data = torch.einsum("om,mihw->oihw", matrix, first.weight)
        fused.bias.data = matrix @ first.bias + second.bias * (2 if self.wrong else 1)
        self.layers = nn.Sequential(fused)


def test_own_reparameterization_is_used_when_exact():
    source = network(nn.Sequential(Deployable()))
    _, certificate = collapse(source)
    assert certificate.exact and certificate.notes == ("reparameterized by its own modules",)
    assert len(source.module[0].layers) == 2  # on a copy


def test_own_reparameterization_is_dropped_when_wrong():
    plain, certificate = collapse(network(nn.Sequential(Deployable(wrong=True))))
    assert certificate.exact and "was not used" in certificate.notes[0]
    assert len(convs(plain.module)) == 1


def test_fuse_replaces_the_module():
    class Fusable(nn.Module):
        def fuse(self):
            return nn.Conv2d(1, 1, 1)

    holder = nn.Sequential(Fusable(), nn.Identity())
    assert isinstance(reparameterized(holder)[0], nn.Conv2d)
    assert isinstance(holder[0], Fusable)


def test_float32_written_into_the_forward():
    """Such a module cannot run in float64; its graph can."""

    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = RepVGG()
            self.head = nn.Conv2d(3, C, 1)

        def forward(self, x):
            return self.block(F.relu(self.head(x.float())))

    _, certificate = collapse(network(Stubborn()))
    assert certificate.exact and certificate.convs_after == 2

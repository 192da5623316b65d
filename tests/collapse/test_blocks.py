"""Training blocks as strangers write them: each is one convolution, and no class is named.

Only `nn.Conv2d`, `nn.BatchNorm2d`, `nn.AvgPool2d`, `+`, `cat` and padding are used, with the
statistics and scales a trained network would have (not zero mean, not unit variance).
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgesr.collapse import collapse
from edgesr.collapse.hooks import reparameterized
from edgesr.errors import InexactError
from edgesr.graph import is_call, layer_of
from edgesr.models import create
from edgesr.network import Network

aten = torch.ops.aten
C, OUT = 4, 6
torch.set_num_threads(1)


def trained(module):
    """Random but fixed weights and statistics, as after training."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator) * 0.5
            tensor.data.copy_(values.abs() + 0.2 if name.endswith("var") else values)
    return module.eval()


class Frame(nn.Module):
    """RGB -> C channels -> block -> ReLU: what a block is surrounded by."""

    def __init__(self, block):
        super().__init__()
        self.head = nn.Conv2d(3, C, 3, padding=1)
        self.block = block

    def forward(self, x):
        return F.relu(self.block(F.relu(self.head(x))))


def conv_bn(kernel, padding=0, out=OUT, groups=1, channels=C):
    conv = nn.Conv2d(channels, out, kernel, padding=padding, bias=False, groups=groups)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class RepVGG(nn.Module):
    def __init__(self, groups=1):
        super().__init__()
        self.dense = conv_bn(3, 1, C, groups)
        self.pointwise = conv_bn(1, 0, C, groups)
        self.identity = nn.BatchNorm2d(C)

    def forward(self, x):
        return self.dense(x) + self.pointwise(x) + self.identity(x)


class ACNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.square = conv_bn(3, 1)
        self.row = conv_bn((1, 3), (0, 1))
        self.column = conv_bn((3, 1), (1, 0))

    def forward(self, x):
        return self.square(x) + self.row(x) + self.column(x)


class BiasPadded(nn.Module):
    """DBB's BNAndPadLayer: the frame is what the batch norm makes of zero."""

    def __init__(self, channels):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = self.bn(x)
        spread = torch.sqrt(self.bn.running_var + self.bn.eps)
        frame = self.bn.bias - self.bn.running_mean * self.bn.weight / spread
        frame = frame.view(1, -1, 1, 1)
        x = F.pad(x, [1] * 4)
        x[:, :, 0:1, :] = frame
        x[:, :, -1:, :] = frame
        x[:, :, :, 0:1] = frame
        x[:, :, :, -1:] = frame
        return x


class DBB(nn.Module):
    """Diverse branch block: K x K, 1x1, 1x1 - K x K, 1x1 - average."""

    def __init__(self):
        super().__init__()
        self.square = conv_bn(3, 1)
        self.point = conv_bn(1)
        self.chain = nn.Sequential(
            nn.Conv2d(C, 2 * C, 1, bias=False), BiasPadded(2 * C), conv_bn(3, 0, OUT, 1, 2 * C)
        )
        self.average = nn.Sequential(
            nn.Conv2d(C, OUT, 1, bias=False), BiasPadded(OUT), nn.AvgPool2d(3, 1),
            nn.BatchNorm2d(OUT),
        )  # fmt: skip

    def forward(self, x):
        return self.square(x) + self.point(x) + self.chain(x) + self.average(x)


class OriginalECB(nn.Module):
    """ECBSR's published code: the output of each 1x1 is framed by that 1x1's bias, in place."""

    def __init__(self):
        super().__init__()
        self.square = nn.Conv2d(C, OUT, 3, padding=1)
        self.first = nn.Conv2d(C, OUT, 1)
        self.scale = nn.Parameter(torch.randn(OUT, 1, 1, 1))
        self.bias = nn.Parameter(torch.randn(OUT))
        # A plain attribute, as strangers have them: neither parameter nor buffer.
        sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.mask = sobel.expand(OUT, 1, 3, 3).clone()

    def forward(self, x):
        y = F.conv2d(x, self.first.weight, self.first.bias)
        y = F.pad(y, (1, 1, 1, 1), "constant", 0)
        frame = self.first.bias.view(1, -1, 1, 1)
        y[:, :, 0:1, :] = frame
        y[:, :, -1:, :] = frame
        y[:, :, :, 0:1] = frame
        y[:, :, :, -1:] = frame
        edges = F.conv2d(y, self.scale * self.mask, self.bias, groups=OUT)
        return self.square(x) + edges


class LinearBlock(nn.Module):
    """SESR's: k x k to many channels, 1x1 back, with or without the input added."""

    def __init__(self, residual):
        super().__init__()
        self.residual = residual
        self.expand = nn.Conv2d(C, 64, 3, padding=1)
        self.project = nn.Conv2d(64, C if residual else OUT, 1)

    def forward(self, x):
        y = self.project(self.expand(x))
        return x + y if self.residual else y


class Inception(nn.Module):
    """Concatenated branches, mixed by a 1x1, scaled and added to the input; nested."""

    def __init__(self, depth=1):
        super().__init__()
        self.left = nn.Conv2d(C, 8, 3, padding=1)
        self.right = Inception(depth - 1) if depth else nn.Conv2d(C, C, 3, padding=1)
        self.mix = nn.Conv2d(8 + C, C, 1)

    def forward(self, x):
        y = self.mix(torch.cat([self.left(x), self.right(x)], 1))
        return x + 0.1 * y


class PadFirst(nn.Module):
    """1x1 with bias between the padding and the 3x3."""

    def __init__(self):
        super().__init__()
        self.point = nn.Conv2d(C, 16, 1)
        self.square = nn.Conv2d(16, OUT, 3)

    def forward(self, x):
        return self.square(self.point(F.pad(x, (1, 1, 1, 1))))


BLOCKS = {
    "RepVGG": RepVGG(),
    "RepVGG, grouped": RepVGG(groups=2),
    "ACNet": ACNet(),
    "DBB": DBB(),
    "ECB, original": OriginalECB(),
    "SESR": LinearBlock(residual=False),
    "SESR, residual": LinearBlock(residual=True),
    "inception": Inception(),
    "pad first": PadFirst(),
}


def network(module, channels=3, **facts):
    colour = "rgb" if channels == 3 else "y"
    return Network(trained(module), "test", scale=1, colour=colour, **facts)


def convs(module):
    return [n for n in module.graph.nodes if is_call(n, aten.conv2d.default)]


def worst(source, result, margin=0, dtype=torch.float32):
    """Relative difference on an image of our own; float64 source."""
    image = torch.rand(1, 3, 29, 37, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = copy.deepcopy(source).double()(image.double())
        error = (expected - result(image.to(dtype))).abs()
    error = error[..., margin:-margin, margin:-margin] if margin else error
    return float(error.max() / expected.abs().max())


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


# --- what must not be folded ------------------------------------------------------------------


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise = conv_bn(3, 1, C, C)
        self.pointwise = nn.Conv2d(C, 8 * C, 1)
        self.second = nn.Conv2d(8 * C, C, 1)

    def forward(self, x):
        return self.second(self.pointwise(self.depthwise(x)))


def test_cheap_pairs_stay_pairs():
    """Depthwise and pointwise as one would cost more; two pointwise ones would not."""
    plain, certificate = collapse(network(Frame(Separable())))
    _, depthwise, pointwise = convs(plain.module)
    assert depthwise.args[6] == C
    assert pointwise.meta["nn_module_stack"]
    assert certificate.exact


class Anchor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 27, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.body(F.relu(x)) + torch.cat([x] * 9, 1), 3)


def test_an_anchor_of_copies_stays_free():
    plain, certificate = collapse(network(Anchor()))
    assert certificate.macs_after == certificate.macs_before
    assert any(is_call(n, aten.cat.default) for n in plain.module.graph.nodes)


class ZeroPadded(nn.Module):
    """1x1 with bias, then a zero-padded 3x3: as one, the border differs."""

    def __init__(self):
        super().__init__()
        self.point = nn.Conv2d(C, 16, 1)
        self.square = nn.Conv2d(16, OUT, 3, padding=1)
        self.direct = nn.Conv2d(C, OUT, 3, padding=1)

    def forward(self, x):
        return self.square(self.point(x)) + self.direct(x)


def test_an_inexact_border_is_kept_and_measured():
    source = network(Frame(ZeroPadded()))
    plain, certificate = collapse(source)
    assert certificate.exact and len(convs(plain.module)) == 4
    (kept,) = certificate.kept
    assert (kept.place, kept.inner) == ("block.square", "block.point")
    assert kept.border > 0.01
    assert "--allow-border" in certificate.summary()[1]


def test_allow_border_folds_it_and_says_by_how_much():
    source = network(Frame(ZeroPadded()))
    plain, certificate = collapse(source, allow_border=True)
    assert len(convs(plain.module)) == 2 and not certificate.kept
    assert certificate.interior <= 1e-9 < 1e-3 < certificate.border
    assert not certificate.exact and certificate.to_dict()["exact"] is False
    assert worst(source.module, plain.module, margin=certificate.band) < 2e-6
    assert worst(source.module, plain.module) == pytest.approx(certificate.border, rel=0.9)


def test_strict_refuses_and_names_the_place():
    with pytest.raises(InexactError, match=r"block\.square.*--allow-border"):
        collapse(network(Frame(ZeroPadded())), strict=True)


def test_a_broken_rule_does_not_get_a_certificate(monkeypatch):
    """The certificate is a check of its own: what a rule gets wrong is refused, not shipped."""
    monkeypatch.setattr("edgesr.collapse.algebra.scale", lambda inner, factors: inner)
    monkeypatch.setattr("edgesr.collapse.rules.batch_norm.scale", lambda inner, factors: inner)
    with pytest.raises(InexactError, match="fault of a rule"):
        collapse(network(Frame(RepVGG())))


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

"""The receptive field that is computed is the one that gradients show."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.analysis import ReceptiveField, analyse, receptive_field
from edgesr.graph import trace
from edgesr.models import create, entries
from edgesr.models.esa import ESA
from edgesr.network import Network


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions on shared cores: threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def averaging(module: nn.Module) -> nn.Module:
    """float64 and in training mode, every kernel a positive average of slightly less than 1.

    Then no clip, no dead ReLU and no cancellation makes a gradient zero that the wiring does not.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        drawn = torch.rand(parameter.shape, dtype=torch.float64, generator=generator) + 0.5
        if parameter.ndim == 4:
            drawn = 0.9 * drawn / drawn.sum((1, 2, 3), keepdim=True)
        parameter.data = drawn if parameter.ndim == 4 else drawn * 1e-2
        parameter.requires_grad_(False)
    return module.double().train()


def bright(network: Network, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, network.channels, height, width, dtype=torch.float64, generator=generator)
    return network.value_range * (0.7 + 0.3 * x)


def offsets(network: Network, x: Tensor, row: int, column: int) -> tuple[range, range]:
    """Rows and columns, relative to the LR pixel, that the output of that pixel reads."""
    x = x.clone().requires_grad_()
    scale = network.scale
    y = network.module(x)
    assert y.shape[-2:] == (scale * x.shape[-2], scale * x.shape[-1])
    y[..., row * scale : (row + 1) * scale, column * scale : (column + 1) * scale].sum().backward()
    assert x.grad is not None
    read = x.grad[0].abs().sum(0) > 0
    found = []
    for axis, at in ((1, row), (0, column)):
        index = read.any(axis).nonzero().flatten()
        found.append(range(int(index[0]) - at, int(index[-1]) - at + 1))
    return found[0], found[1]


def observed(network: Network, height: int, width: int, steps: int = 1) -> list[ReceptiveField]:
    """Window of the rows and of the columns, over `steps` neighbouring pixels in the middle."""
    seen: list[tuple[range, range]] = []
    x = bright(network, height, width)
    for step in range(steps):
        row, column = min(height // 2 + step, height - 1), min(width // 2 + step, width - 1)
        seen.append(offsets(network, x, row, column))
    fields = []
    for axis in (0, 1):
        low = min(window[axis].start for window in seen)
        high = max(window[axis].stop for window in seen) - 1
        fields.append(ReceptiveField(high - low + 1, max(-low, high)))
    return fields


# Networks for any scale have a window once they are folded for one: test_any_scale.py.
BOUNDED = [e for e in entries().values() if e.exact_tiling and e.any_scale is None]


@pytest.mark.parametrize("entry", BOUNDED, ids=lambda entry: entry.name)
def test_every_network_reads_exactly_its_window(entry):
    """In a strip one pixel high, long enough for the window to end before the strip does."""
    network = create(f"{entry.name}-x{entry.scales[0]}")
    field = receptive_field(network)
    assert field.size is not None and field.halo is not None
    averaging(network.module)
    length = 2 * field.halo + 5
    assert observed(network, 1, length)[1] == field
    if analyse(network).parameters < 100_000:
        assert observed(network, length, 1)[0] == field
    assert field == receptive_field(network), "the walk leaves the network as it was"


@pytest.mark.parametrize("name", ["xlsr-x3", "ecbsr-m4c8-x2", "sesr-m3-x4", "fsrcnn-x4"])
def test_the_window_of_a_graph_is_that_of_its_network(name):
    network = create(name)
    assert receptive_field(trace(network)) == receptive_field(network)


@pytest.mark.parametrize("name", ["imdn-x2"])
def test_global_pooling_reads_everything(name):
    network = create(name)
    assert receptive_field(network) == ReceptiveField(None, None)
    assert not analyse(network).exact_tiling
    averaging(network.module)
    rows, columns = offsets(network, bright(network, 3, 170), 0, 0)
    assert (rows, columns) == (range(3), range(170))


def test_a_drifting_window_is_bounded_and_said_to_drift():
    """ESA enlarges a strided map to the image's size: how far it looks depends on where."""
    network = Network(averaging(ESA(3, 4, 1)), "esa", scale=1)
    height, width = 15, 151
    found = analyse(network, height, width)
    assert not found.exact_tiling
    assert found.receptive_field.halo is not None and found.receptive_field.size is not None
    reached = 0
    for column in range(0, width, 6):
        _, columns = offsets(network, bright(network, height, width), 7, column)
        reached = max(reached, -columns.start, columns.stop - 1)
    assert found.receptive_field.halo - 6 <= reached <= found.receptive_field.halo


# --- one rule at a time ---------------------------------------------------------------------


class Wired(nn.Module):
    """A function of one layer's output and the image."""

    def __init__(self, forward, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.wiring = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.wiring(x, *self.layers)


def conv(kernel: int, into: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(options.pop("out_of", 1), into, kernel, **options)


RULES = {
    "conv 3x5": (Wired(lambda x, f: f(x), conv((3, 5), padding=(1, 2))), 1),
    "even kernel, padded to the left": (
        Wired(lambda x, f: f(F.pad(x, (3, 0, 1, 0))), conv((2, 4))), 1),
    "dilation": (Wired(lambda x, f: f(x), conv(3, padding=3, dilation=3)), 1),
    "unpadded, cropped skip": (
        Wired(lambda x, f: F.pad(f(x) + x[:, :, 1:-1, 2:-2], (2, 2, 1, 1)), conv((3, 5))), 1),
    "stride and shuffle": (
        Wired(lambda x, f: F.pixel_shuffle(f(x), 2), conv(3, 4, stride=2, padding=1)), 1),
    "unshuffle, conv, shuffle": (
        Wired(lambda x, f: F.pixel_shuffle(f(F.pixel_unshuffle(x, 2)), 4),
              conv(3, 16, out_of=4, padding=1)), 2),
    "deconvolution 9, stride 2": (
        nn.ConvTranspose2d(1, 1, 9, stride=2, padding=4, output_padding=1), 2),
    "deconvolution 3, dilated": (
        nn.ConvTranspose2d(1, 1, 3, stride=1, padding=2, dilation=2), 1),
    "average pool, nearest x2": (
        nn.Sequential(nn.AvgPool2d(2), nn.UpsamplingNearest2d(scale_factor=2)), 1),
    "nearest x3, conv": (
        nn.Sequential(nn.UpsamplingNearest2d(scale_factor=3), conv(3, padding=1)), 3),
    "bilinear x2": (nn.Upsample(scale_factor=2, mode="bilinear"), 2),
    "bilinear x3, conv": (
        nn.Sequential(nn.Upsample(scale_factor=3, mode="bilinear"), conv(5, padding=2)), 3),
    "bicubic x2": (nn.Upsample(scale_factor=2, mode="bicubic"), 2),
    "bicubic x4": (nn.Upsample(scale_factor=4, mode="bicubic"), 4),
    "reflected border": (nn.Sequential(nn.ReflectionPad2d(2), conv(5)), 1),
    "channel attention without pooling": (
        Wired(lambda x, f: x * f(x).mean(1, keepdim=True).sigmoid(), conv(3, 4, padding=1)), 1),
    "shuffled channels": (
        Wired(lambda x, f, g: g(f(x).view(1, 2, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)),
              conv(3, 4, padding=1), conv(3, out_of=4, padding=1)), 1),
    "three paths": (
        Wired(lambda x, f, g: f(x) + g(f(x).relu())[:, :1] + x,
              conv(3, padding=1), conv(7, 2, padding=3)), 1),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_each_operator_reads_exactly_its_window(rule):
    module, scale = RULES[rule]
    network = Network(averaging(module), rule, scale, colour="y")
    found = analyse(network, 48, 48)
    period = 4  # strides make neighbours differ; the window is that of all of them
    rows, columns = observed(network, 48, 48, period)
    together = ReceptiveField(max(rows.size, columns.size), max(rows.halo, columns.halo))
    assert found.receptive_field == together


@pytest.mark.parametrize(
    ("wiring", "why"),
    [
        (lambda x: x - x.mean((2, 3), keepdim=True), "mean of the image"),
        (lambda x: x / x.amax((2, 3), keepdim=True), "maximum of the image"),
        (lambda x: x * F.adaptive_avg_pool2d(x, 1), "pooling"),
        (lambda x: x.softmax(-1), "softmax along a row"),
        (lambda x: x.flip(3), "mirrored image"),
        (lambda x: x.cumsum(2), "sum from the top"),
        (lambda x: x.roll(1, 3), "image rolled over its edge"),
        (lambda x: x.transpose(2, 3).transpose(2, 3), "turned image"),
        (lambda x: x + x[:, :, :1, :1], "corner pixel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_not_known_to_be_local_counts_as_everything(wiring, why):
    network = Network(Wired(wiring).eval(), why, 1, colour="y")
    assert receptive_field(network) == ReceptiveField(None, None)
    assert not analyse(network).exact_tiling


def test_a_strangers_constants_need_be_neither_buffers_nor_parameters():
    kernel = torch.ones(2, 1, 3, 3)

    def wiring(x, layer):
        x = F.conv2d(x, layer.fixed, padding=1)
        return layer(x * torch.full((1, 2, 1, 1), 2.0))

    layer = conv(3, out_of=2, padding=1)
    layer.fixed = kernel
    module = Wired(wiring, layer).train()
    found = analyse(Network(module, "stranger", 1, colour="y"), 10, 20)
    assert found.receptive_field == ReceptiveField(5, 2)
    assert found.macs == 200 * 2 * (18)
    assert layer.fixed is kernel and module.training, "the walk leaves the module as it was"


# --- tiles ----------------------------------------------------------------------------------

TILED = ["abpn-x3", "ecbsr-m4c8-x2", "espcn-x2", "fsrcnn-x2", "plain-s-x2", "quicksrnet-small-x4",
         "sesr-m3-x2", "xlsr-x3"]  # fmt: skip


@pytest.mark.parametrize("name", TILED)
def test_a_tile_needs_its_halo_and_no_more(name):
    """Inside the tile the whole image's pixels, from a halo of that size; not from a smaller."""
    network = create(name)
    torch.manual_seed(3)
    for parameter in network.module.parameters():
        fan_in = max(1, parameter[0].numel())
        parameter.data = torch.randn_like(parameter) * math.sqrt(1.5 / fan_in)
    module, scale = network.module.double().train(), network.scale
    halo = receptive_field(network).halo
    assert halo is not None
    top, left, side = halo + 2, halo + 1, 4
    x = bright(network, top + side + halo + 3, left + side + halo + 1)

    def inside(margin: int) -> Tensor:
        rows = slice(top - margin, top + side + margin)
        columns = slice(left - margin, left + side + margin)
        cut = slice(margin * scale, (margin + side) * scale)
        return module(x[:, :, rows, columns])[:, :, cut, cut]

    with torch.no_grad():
        whole = module(x)[:, :, top * scale : (top + side) * scale]
        whole = whole[:, :, :, left * scale : (left + side) * scale]
        torch.testing.assert_close(inside(halo), whole, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(inside(halo - 1), whole, rtol=1e-9, atol=1e-9)

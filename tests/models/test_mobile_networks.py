"""ABPN, ECBSR, SESR, XLSR, QuickSRNet, ESPCN, FSRCNN: what their papers say of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.analysis import analyse, deployed, sketch
from edgesr.collapse import collapse
from edgesr.models import create, entries
from edgesr.models.ecbsr import EdgeBlock
from edgesr.models.fsrcnn import ShuffledDeconv
from edgesr.models.quicksrnet import QuickSRNet
from edgesr.models.sesr import LinearBlock

FAMILIES = ("abpn", "ecbsr", "espcn", "fsrcnn", "quicksrnet", "sesr", "xlsr")
NAMES = [
    f"{entry.name}-x{scale}"
    for entry in entries().values()
    if entry.name.startswith(FAMILIES)
    for scale in entry.scales
]


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions on shared cores: threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_numbers(module: nn.Module, seed: int = 0) -> nn.Module:
    """float64, every parameter drawn afresh: no zero bias or slope hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for parameter in module.parameters():
        drawn = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
        parameter.data = 0.3 * drawn
    return module


def image(channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, channels, height, width, dtype=torch.float64, generator=generator)


def test_all_networks_of_the_issue_are_there():
    assert {name.rsplit("-x", 1)[0] for name in NAMES} == {
        "abpn", "espcn", "fsrcnn", "xlsr",
        "ecbsr-m4c8", "ecbsr-m4c16", "ecbsr-m10c16", "ecbsr-m10c32", "ecbsr-m16c64",
        "sesr-m3", "sesr-m5", "sesr-m7", "sesr-m8", "sesr-m11", "sesr-xl",
        "quicksrnet-small", "quicksrnet-medium", "quicksrnet-large",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 10)])
def test_any_size_is_enlarged_into_the_range(name, height, width):
    network = create(name)
    scale = network.scale
    x = torch.rand(1, network.channels, height, width)
    with torch.no_grad():
        y = network.module.eval()(x)
    assert y.shape == (1, network.channels, height * scale, width * scale)
    assert y.min() >= 0.0 and y.max() <= 1.0


@pytest.mark.parametrize(
    "name",
    ["abpn-x2", "ecbsr-m4c8-x2", "espcn-x3", "fsrcnn-x2", "quicksrnet-small-x2", "sesr-m3-x2"],
)
def test_training_does_not_clip(name):
    """A clipped pixel has no gradient. XLSR's clip is part of the network, training included."""
    network = create(name)
    module = random_numbers(network.module).train()
    with torch.no_grad():
        y = module(image(network.channels, 8, 9))
    assert y.min() < 0.0 or y.max() > 1.0


# Deployed counts as the papers print them, in thousands, and how they count.
PRINTED = {
    "abpn-x3": 42.54,
    "xlsr-x3": 22, "xlsr-x4": 28.0,
    "espcn-x2": 21, "espcn-x4": 25,
    "quicksrnet-small-x4": 33.3, "quicksrnet-medium-x4": 61.0, "quicksrnet-large-x4": 436,
}  # fmt: skip
ECBSR_PRINTED = {
    "ecbsr-m4c8-x2": 2.8, "ecbsr-m4c8-x4": 3.7, "ecbsr-m4c16-x2": 10.2, "ecbsr-m4c16-x4": 11.9,
    "ecbsr-m10c16-x2": 24.3, "ecbsr-m10c16-x4": 26.0, "ecbsr-m10c32-x2": 94.7,
    "ecbsr-m10c32-x4": 98.1, "ecbsr-m16c64-x2": 596, "ecbsr-m16c64-x4": 603,
}  # fmt: skip
WEIGHTS_ONLY = {
    "fsrcnn-x2": 12_464, "fsrcnn-x3": 12_464, "fsrcnn-x4": 12_464,
    "sesr-m3-x2": 8_912, "sesr-m5-x2": 13_520, "sesr-m7-x2": 18_128, "sesr-m8-x2": 20_432,
    "sesr-m11-x2": 27_344,
    "sesr-xl-x2": 105_376, "sesr-m5-x4": 18_320, "sesr-m11-x4": 32_144, "sesr-xl-x4": 114_976,
}  # fmt: skip


def as_printed(count: int, printed: float) -> bool:
    digits = len(str(printed).partition(".")[2])
    return round(count / 1000, digits) == printed


def slopes(module: nn.Module) -> int:
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.PReLU))


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_as_printed(name):
    assert as_printed(analyse(sketch(name)).parameters, PRINTED[name])


@pytest.mark.parametrize("name", ECBSR_PRINTED)
def test_ecbsr_counts_are_the_papers_when_slopes_count_twice(name):
    network = sketch(name)
    count = analyse(network).parameters + slopes(network.module)
    assert as_printed(count, ECBSR_PRINTED[name])


@pytest.mark.parametrize("name", WEIGHTS_ONLY)
def test_weights_alone_are_the_papers_count(name):
    module = sketch(name).module
    weights = sum(p.numel() for p in module.parameters() if p.ndim == 4)
    assert weights == WEIGHTS_ONLY[name]


@pytest.mark.parametrize(
    ("name", "gigamacs"),
    [("sesr-m3-x2", 2.05), ("sesr-m5-x2", 3.11), ("sesr-m7-x2", 4.17), ("sesr-m11-x2", 6.30),
     ("sesr-xl-x2", 24.27), ("sesr-m5-x4", 1.05), ("sesr-m11-x4", 1.85), ("sesr-xl-x4", 6.62)],
)  # fmt: skip
def test_sesr_macs_are_the_papers(name, gigamacs):
    assert analyse(sketch(name)).macs / 1e9 == pytest.approx(gigamacs, abs=0.01)


# --- ECBSR ----------------------------------------------------------------------------------


def padded_with_bias(point: nn.Conv2d, x: Tensor) -> Tensor:
    """What the paper does: run the 1x1, then frame its output with its own bias."""
    inner = point(x)
    framed = point.bias.view(1, -1, 1, 1).expand(1, -1, x.shape[2] + 2, x.shape[3] + 2).clone()
    framed[:, :, 1:-1, 1:-1] = inner
    return framed


@pytest.mark.parametrize(("ends", "size"), [((1, 8), (5, 6)), ((4, 4), (1, 1)), ((6, 3), (2, 9))])
def test_edge_block_has_the_papers_border(ends, size):
    block = random_numbers(EdgeBlock(*ends))
    x = image(ends[0], *size)
    expected = F.conv2d(x, block.square.weight, block.square.bias, padding=1)
    expected = expected + block.squeeze(padded_with_bias(block.widen, x))
    for branch in (block.sobel_x, block.sobel_y, block.laplacian):
        framed = padded_with_bias(branch.point, x)
        weight = branch.strength * branch.edge
        expected = expected + F.conv2d(framed, weight, branch.bias, groups=ends[1])
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (8, 5)])
def test_edge_block_is_its_collapsed_convolution_borders_included(size):
    block = random_numbers(EdgeBlock(3, 5))
    x = image(3, *size)
    torch.testing.assert_close(block.collapsed()(x), block(x), rtol=1e-12, atol=1e-12)


def test_edge_filters_are_sobel_and_laplace():
    block = EdgeBlock(1, 1)
    ramp = torch.arange(25.0).reshape(1, 1, 5, 5) % 5
    for branch, slope in ((block.sobel_x, -8.0), (block.sobel_y, 0.0), (block.laplacian, 0.0)):
        inner = F.conv2d(ramp, branch.edge)
        assert torch.equal(inner, torch.full_like(inner, slope))


# --- SESR -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "kernel", "residual"), [((1, 6), 5, False), ((6, 6), 3, True), ((6, 4), 5, False)]
)
def test_linear_block_is_one_kernel_in_every_mode(ends, kernel, residual):
    block = random_numbers(LinearBlock(*ends, kernel, width=16, residual=residual))
    x = image(ends[0], 4, 9)
    expanded = block.eval()(x)
    torch.testing.assert_close(block.train()(x), expanded, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block.collapsed()(x), expanded, rtol=1e-12, atol=1e-12)


def test_only_the_blocks_between_have_a_short_residual():
    """At x4 the last block has as many outputs as inputs, and none all the same."""
    module = create("sesr-m3-x4").module
    blocks = [part for part in module.modules() if isinstance(part, LinearBlock)]
    assert [block.residual for block in blocks] == [False, True, True, True, False]
    nn.init.zeros_(blocks[1].project.weight)
    x = image(16, 6, 6).float()
    assert torch.equal(blocks[1].eval()(x), x)


@pytest.mark.parametrize("name", ["ecbsr-m4c8-x2", "sesr-m3-x4"])
def test_deployed_form_is_the_same_function(name):
    network = create(name)
    module = random_numbers(network.module).eval()
    x = image(1, 9, 8)
    plain = deployed(module)
    assert not any(hasattr(part, "collapsed") for part in plain.modules())
    assert any(hasattr(part, "collapsed") for part in module.modules()), "the original is kept"
    torch.testing.assert_close(plain(x), module(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["ecbsr-m4c8-x2", "sesr-m3-x4", "plain-s-x3"])
def test_collapse_leaves_what_is_counted_as_deployed(name):
    """Two ways to the same network: the general rule, and each block's own word."""
    collapsed, certificate = collapse(create(name))
    assert certificate.exact
    found, counted = analyse(collapsed), analyse(sketch(name))
    assert found.parameters == counted.parameters
    assert found.macs == counted.macs
    assert found.receptive_field == counted.receptive_field


# --- the others -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 6)])
def test_shuffled_deconvolution_is_the_deconvolution(scale, size):
    layer = random_numbers(ShuffledDeconv(5, scale, 9))
    x = image(5, *size)
    expected = F.conv_transpose2d(
        x, layer.weight, layer.bias, stride=scale, padding=4, output_padding=scale - 1
    )
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


NEAREST = ("abpn-x3", "ecbsr-m4c8-x2", "sesr-m3-x4", "quicksrnet-large-x3")


@pytest.mark.parametrize("name", NEAREST)
def test_silent_body_leaves_nearest_neighbour(name):
    """With all weights zero, what remains is the skip: each pixel repeated, colours in order."""
    network = create(name)
    for parameter in network.module.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(1, network.channels, 5, 4)
    expected = F.interpolate(x, scale_factor=network.scale, mode="nearest")
    assert torch.equal(network.module.eval()(x), expected)


@pytest.mark.parametrize("link", [False, True])
def test_quicksrnet_starts_as_nearest_neighbour(link):
    """The identity initialization: without the random part, the untrained net enlarges."""
    torch.manual_seed(0)
    module = QuickSRNet(3, channels=8, blocks=2, link=link).eval()
    for conv in [*module.body, module.tail]:
        nn.init.zeros_(conv.bias)
        conv.weight.data = conv.weight.data.round()  # |random part| < 1/2, identity = 1
    x = torch.rand(1, 3, 6, 7)
    torch.testing.assert_close(module(x), F.interpolate(x, scale_factor=3.0, mode="nearest"))


def test_quicksrnet_clips_every_activation_to_the_range_of_a_pixel():
    module = random_numbers(QuickSRNet(2, channels=6, blocks=1)).eval()
    x = image(3, 5, 8)
    first = F.conv2d(x, module.body[0].weight, module.body[0].bias, padding=1).clamp(0.0, 1.0)
    second = F.conv2d(first, module.body[1].weight, module.body[1].bias, padding=1).clamp(0.0, 1.0)
    last = F.conv2d(second, module.tail.weight, module.tail.bias, padding=1)
    expected = F.pixel_shuffle(last, 2).clamp(0.0, 1.0)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)

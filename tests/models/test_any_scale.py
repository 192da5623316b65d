"""Networks for any scale: right sizes, right places, and the folded form is the same function."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
import torch
from torch import nn

from edgesr.analysis import receptive_field
from edgesr.errors import UsageError
from edgesr.models import create
from edgesr.models.arbsr import AdaptedTrunk, ArbPlain, ArbResidual
from edgesr.models.edsr import ResidualBlock
from edgesr.models.enlarge import Enlarge, Nearest, Periodic, rectangle_to_space
from edgesr.models.metasr import MetaPlain
from edgesr.models.rcan import ResidualGroup
from edgesr.models.sites import sites, sites_of
from edgesr.scales import checked, enlarged_size, parse_scale, period, scale_text

SCALES = [2, 3, (1.5, 1.5), (2.5, 2.5), (1.2, 3.0), (2.2, 4.2)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(module: nn.Module) -> nn.Module:
    """float64, offsets of up to a pixel or two: the folded filters must reach that far."""
    torch.manual_seed(3)
    module = module.double().eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if name.endswith("offset.weight"):
            parameter.normal_(std=0.3)
    return module


def arb(scale):
    return drawn(ArbPlain(scale, channels=8, blocks=2, every=1))


def residual(scale):
    return drawn(ArbResidual(scale, [ResidualBlock(16)], channels=16))


def attention(scale):
    return drawn(ArbResidual(scale, [ResidualGroup(16, 1)], channels=16))


def meta(scale):
    return drawn(MetaPlain(scale, channels=8, blocks=2))


@pytest.mark.parametrize("make", [arb, residual, attention, meta])
@pytest.mark.parametrize("scale", SCALES, ids=scale_text)
def test_folded_is_the_same_map_up_to_the_border(make, scale):
    if make is meta and isinstance(scale, tuple) and scale[0] != scale[1]:
        pytest.skip("Meta-SR has one scale both ways")
    module = make(scale)
    side = 2 * period(scale)
    x = 0.5 + 0.2 * torch.rand(1, 3, 3 * side, 2 * side, dtype=torch.float64)
    x = x * (255 if isinstance(module, ArbResidual) else 1)
    want = module(x)
    assert tuple(want.shape[2:]) == enlarged_size(3 * side, 2 * side, scale)
    folded = copy.deepcopy(module)
    folded.switch_to_deploy()
    assert isinstance(folded.upsample, Periodic)
    assert (folded(x) - want).abs().max() <= 1e-12 * want.abs().max()


def test_a_scale_of_large_numbers_is_left_as_it_is():
    module = arb((2.35, 2.35))
    assert not module.folds()
    module.switch_to_deploy()
    assert isinstance(module.upsample, Enlarge)


def test_training_runs_the_folded_form_and_learns_through_it():
    """Gradients of the composed filters are those of the maps they were composed of."""
    module = ArbPlain((1.5, 1.5), channels=8, blocks=2, every=1).double().train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    target = torch.rand(2, 3, 12, 12, dtype=torch.float64)

    def gradients(folded: bool):
        module.zero_grad()
        if folded:
            y = module(x)
        else:
            rows, columns = sites(8, Fraction(3, 2), x), sites(8, Fraction(3, 2), x)
            y = module.enlarge(x, rows, columns, module.upsample)
        ((y - target) ** 2).mean().backward()
        return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}

    ours, want = gradients(True), gradients(False)
    assert ours.keys() == want.keys() and len(ours) > 30
    for name, gradient in want.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-8, atol=1e-12, msg=name)


@pytest.mark.parametrize("ratio", [Fraction(2), Fraction(3, 2), Fraction(11, 5), Fraction(47, 20)])
def test_places_are_exact_and_the_same_from_a_scale_that_is_an_input(ratio):
    side = 240
    exact = sites(side, ratio, torch.zeros(1, dtype=torch.float64))
    assert exact.pixel.min() == 0 and exact.pixel.max() == side - 1
    assert exact.within.min() >= -0.5 and exact.within.max() < 0.5
    first = (Fraction(1, 2) / ratio) - Fraction(1, 2)
    assert exact.centre[1].item() == pytest.approx(float(first), abs=1e-12)
    given = sites_of(torch.arange(exact.count).float(), torch.tensor(float(ratio)))
    assert torch.equal(given.pixel, exact.pixel)
    torch.testing.assert_close(given.within.double(), exact.within, atol=1e-4, rtol=0)


def test_nearest_repeats_pixels_at_a_whole_scale():
    x = torch.rand(1, 3, 4, 5)
    place = sites(4, Fraction(3), x), sites(5, Fraction(2), x)
    want = x.repeat_interleave(3, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(Nearest()(x, *place), want)


def test_a_square_rectangle_is_depth_to_space():
    from edgesr.export.lower.ops import depth_to_space

    x = torch.rand(1, 27, 4, 5)
    assert torch.equal(rectangle_to_space(x, 3, 3), depth_to_space(x, 3))


def test_the_mask_decides_where_features_are_adapted():
    """`x + mask * adapted`: a mask of zero leaves the features alone, whatever the scale."""
    torch.manual_seed(0)
    trunk = AdaptedTrunk([nn.Identity()], 8, 1).eval()
    x = torch.rand(1, 8, 6, 6)
    with torch.no_grad():
        trunk.adaptions[0].mask[-2].bias.fill_(-1e4)
        closed = trunk(x, torch.tensor([0.5, 0.5]))
        trunk.adaptions[0].mask[-2].bias.fill_(1e4)
        two, three = (trunk(x, torch.tensor([1 / s, 1 / s])) for s in (2, 3))
    assert torch.equal(closed, x)
    assert (two - x).abs().max() > 1e-3 and (two - three).abs().max() > 1e-5


def test_the_folded_network_has_a_bounded_window():
    network = create("arbsr-plain-x1.5")
    assert receptive_field(network).halo is None
    assert receptive_field(network.with_module(network.module.collapsed())).halo is not None


def test_registry_builds_any_scale():
    network = create("arbsr-plain-x2.2x4.2")
    assert network.scale == (2.2, 4.2) and network.pad_multiple == 10
    assert create("arbsr-plain-x2.0").scale == 2 and create("arbsr-plain-x2").pad_multiple == 2


@pytest.mark.parametrize(
    "text", ["0", "-2", "1x9", "abc", "", "2x", "x2", "2x3x4", "nan", "inf", "1e1", "2.345", "0x2"]
)
def test_a_wrong_scale_is_a_usage_error(text):
    with pytest.raises(UsageError, match="scale"):
        parse_scale(text)


@pytest.mark.parametrize("name", ["arbsr-plain-x6", "metasr-plain-x2x3", "plain-m-x2.5"])
def test_a_scale_the_network_does_not_come_in(name):
    with pytest.raises(UsageError, match="not"):
        create(name)


@pytest.mark.parametrize(("text", "scale"), [("2", 2), ("2.0", 2), ("1.5", (1.5, 1.5)),
                                             ("2x2", 2), ("2.2x4.2", (2.2, 4.2))])  # fmt: skip
def test_scales_are_read_and_written(text, scale):
    assert parse_scale(text) == scale == checked(scale) == parse_scale(scale_text(scale))


def test_half_a_pixel_is_rounded_down_where_its_centre_would_lie_outside():
    x = torch.rand(1, 3, 10, 10)
    place = sites(10, Fraction(5, 4), x)
    assert place.count == 12 and place.pixel.max() == 9


def test_the_papers_example():
    assert enlarged_size(100, 100, (2.2, 4.2)) == (220, 420)


def test_gradients_pass_through_a_rectangle():
    x = torch.rand(2, 18, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: rectangle_to_space(t, 3, 2), (x,))

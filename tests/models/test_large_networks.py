"""IMDN, RFDN, RLFN, EDSR and MDSR: their papers' sizes, their shapes, and what they do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgesr.graph import trace
from edgesr.models import create, entries
from edgesr.models.esa import ESA, MIN_SIDE
from edgesr.models.imdn import CCA

FAMILIES = ("imdn", "rfdn", "rlfn", "edsr", "mdsr")
LARGE = [name for name in entries() if name.startswith(FAMILIES)]
NAMES = [f"{name}-x{scale}" for name in LARGE for scale in entries()[name].scales]
LIGHT = [name for name in NAMES if not name.startswith(("edsr-x", "mdsr-x"))]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_all_networks_of_the_issue_are_there():
    assert {
        "imdn", "rfdn", "rlfn", "rlfn-s", "rlfn-ntire", "edsr", "edsr-baseline", "edsr-f32b5",
        "mdsr", "mdsr-baseline",
    } == set(LARGE)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_papers(name: str):
    entry, scale = entries()[name.rsplit("-x", 1)[0]], int(name[-1])
    if scale not in entry.parameters:
        pytest.skip("the paper gives no count at this scale")
    with torch.device("meta"):
        module = entry.build(scale)
    assert count(module) == pytest.approx(entry.parameters[scale], rel=entry.tolerance, abs=0)


# Parameters in thousands as papers print them (EDSR in millions); a second, independent source.
PRINTED = {
    "imdn-x2": 694, "imdn-x3": 703, "imdn-x4": 715, "rlfn-x2": 527, "rlfn-x4": 544,
    "rlfn-s-x2": 455, "rlfn-s-x4": 470, "rlfn-ntire-x4": 317, "rfdn-x4": 433,
    "edsr-baseline-x2": 1370, "edsr-baseline-x3": 1554, "edsr-baseline-x4": 1518,
    "edsr-x2": 40730, "edsr-x3": 43680, "edsr-x4": 43090, "mdsr-baseline-x2": 3227,
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_as_printed(name: str):
    entry, scale = entries()[name.rsplit("-x", 1)[0]], int(name[-1])
    with torch.device("meta"):
        assert round(count(entry.build(scale)) / 1000) == PRINTED[name]


@pytest.mark.parametrize("name", LIGHT)
def test_shapes_and_range(name: str):
    """Odd, unequal sides; the result is in the range, and training is not clipped."""
    torch.manual_seed(1)
    network = create(name)
    scale = int(name[-1])
    x = network.value_range * torch.rand(1, 3, 17, 23)
    with torch.inference_mode():
        network.module.eval()
        y = network.module(x)
        network.module.train()
        unclipped = network.module(x)
    assert y.shape == (1, 3, 17 * scale, 23 * scale)
    assert y.min() >= 0 and y.max() <= network.value_range
    assert torch.equal(unclipped.clamp(0, network.value_range), y)


@pytest.mark.parametrize(
    "name", ["imdn-x3", "rfdn-x2", "rlfn-ntire-x4", "edsr-baseline-x4", "mdsr-baseline-x3"]
)
def test_one_graph_serves_any_size(name: str):
    """No control flow on sizes: what is traced at one size computes the same at others."""
    torch.manual_seed(0)
    network = create(name)
    graph = trace(network)
    with torch.inference_mode():
        for height, width in ((32, 41), (51, 37)):
            x = network.value_range * torch.rand(1, 3, height, width)
            assert torch.allclose(graph(x), network.module(x), rtol=1e-4, atol=1e-4)


def test_facts_of_the_registry():
    known = entries()
    for name in LARGE:
        assert known[name].value_range == (1.0 if name == "imdn" else 255.0), name
        assert known[name].exact_tiling == name.startswith(("edsr", "mdsr")), name


def test_spatial_attention_needs_15_pixels_and_depends_on_the_tile():
    """Why RFDN and RLFN are not exact under tiling: the strides start at the tile's corner."""
    torch.manual_seed(0)
    attention = ESA(8, reduced=4, inner=1).eval()
    x = torch.rand(1, 8, 64, 64)
    with torch.inference_mode():
        assert attention(x[:, :, :MIN_SIDE, :MIN_SIDE]).shape == (1, 8, MIN_SIDE, MIN_SIDE)
        whole, shifted = attention(x), attention(x[:, :, 1:, 1:])
    assert (whole[:, :, 33, 33] - shifted[:, :, 32, 32]).abs().max() > 1e-6


def test_contrast_is_the_population_deviation_plus_mean():
    torch.manual_seed(0)
    attention = CCA(32)
    x = torch.rand(1, 32, 9, 7)
    statistic = x.std(dim=(2, 3), correction=0, keepdim=True) + x.mean(dim=(2, 3), keepdim=True)
    mask = attention.excite(F.relu(attention.squeeze(statistic))).sigmoid()
    assert torch.allclose(attention(x), x * mask, atol=1e-6)


def test_mdsr_shares_one_trunk_between_scales():
    """The same weights give every scale; `scale` picks the head."""
    torch.manual_seed(0)
    two, three = create("mdsr-baseline-x2"), create("mdsr-baseline-x3")
    three.module.load_state_dict(two.module.state_dict())
    x = 255 * torch.rand(1, 3, 8, 9)
    with torch.inference_mode():
        assert three.module.eval()(x).shape == (1, 3, 24, 27)
        two.module.eval().scale = 3  # type: ignore[assignment]
        assert torch.equal(two.module(x), three.module(x))


@pytest.mark.parametrize("name", ["edsr-baseline-x2", "mdsr-baseline-x3"])
def test_mean_colour_in_is_mean_colour_out_when_weights_are_zero(name: str):
    """The mean shift: with a silent network only the mean of DIV2K is left."""
    network = create(name)
    for parameter in network.module.parameters():
        nn.init.zeros_(parameter)
    with torch.inference_mode():
        y = network.module.eval()(255 * torch.rand(1, 3, 6, 6))
    assert torch.allclose(y[0, :, 0, 0], 255 * torch.tensor([0.4488, 0.4371, 0.4040]))


def patterned(module: nn.Module) -> None:
    """Weights by formula, alive at every depth, so that an output is a fingerprint of a forward."""
    state = module.state_dict()
    for index, (key, tensor) in enumerate(state.items()):
        place = torch.arange(tensor.numel(), dtype=torch.float64)
        noise = 2 * (43758.5453 * torch.sin(12.9898 * place + index)).frac().reshape(tensor.shape)
        state[key] = noise * tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.3 * noise
    module.load_state_dict(state)


# Centre pixel of patterned networks, recorded when the forwards reproduced the published PSNR
# (EDSR and MDSR: when they equalled a transcription of the authors' code bit for bit).
FINGERPRINTS = {
    "imdn-x2": [-2.3648, 0.23203, 4.4721],
    "rfdn-x3": [0.16735, 0.72563, 0.64904],
    "rlfn-x4": [-1.6043, -0.96368, 1.2186],
    "rlfn-ntire-x4": [-1.3691, -0.03891, 1.9911],
    "edsr-baseline-x2": [2742.2, -2678.2, -20493.0],
    "edsr-f32b5-x2": [67136000.0, -77198000.0, 30033000.0],
    "mdsr-baseline-x3": [-6842.6, -10980.0, -1902.4],
}


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_forward_is_the_one_that_was_verified(name: str):
    network = create(name)
    patterned(network.module.train())
    x = torch.sin(torch.arange(3 * 18 * 20) * 0.37).reshape(1, 3, 18, 20) + 1
    with torch.inference_mode():
        y = network.module(x)
    assert y[0, :, 7, 11].tolist() == pytest.approx(FINGERPRINTS[name], rel=1e-3)

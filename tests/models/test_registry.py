"""Every registered network: facts are complete, names are found, counts are the papers'."""

from __future__ import annotations

import pytest
import torch

from edgesr.analysis import analyse, sketch
from edgesr.errors import CheckpointError, UsageError
from edgesr.models import Paper, create, entries, parse_name, register
from edgesr.models.recognise import recognise
from edgesr.models.registry import find_entry

NAMES = [f"{entry.name}-x{scale}" for entry in entries().values() for scale in entry.scales]
COUNTED = [f"{entry.name}-x{scale}" for entry in entries().values() for scale in entry.parameters]


@pytest.mark.parametrize("name", entries())
def test_facts_are_complete(name):
    entry = entries()[name]
    assert entry.paper.title and entry.paper.venue
    assert entry.paper.url.startswith("https://") or entry.paper.venue == "edgesr"
    assert set(entry.parameters) <= set(entry.scales), "a count for a scale there is not"
    # Folded for a scale, the size depends on it; no paper counts that.
    assert entry.parameters or entry.any_scale, "no paper gives no count at all"
    assert list(entry.scales) == sorted(entry.scales)
    assert entry.tolerance < 0.03, "a rounding this coarse would pass another network"
    assert entry.value_range in (1.0, 255.0)


@pytest.mark.parametrize("name", COUNTED)
def test_deployed_parameters_are_the_papers(name):
    entry, scale = parse_name(name)
    network = sketch(name)
    count = analyse(network).parameters
    if name.startswith("mdsr"):  # one network for all scales; the paper counts all of its ends
        count = sum(parameter.numel() for parameter in network.module.parameters())
    assert count == pytest.approx(entry.parameters[scale], rel=entry.tolerance, abs=0)


@pytest.mark.parametrize("name", NAMES)
def test_sketch_has_the_shapes_of_the_network(name):
    """No storage, so even the largest network costs milliseconds; a stride of 0 would show."""
    network = sketch(name)
    assert all(parameter.is_meta for parameter in network.module.parameters())
    cost = analyse(network, 24, 40)
    assert (cost.height, cost.width) == (24, 40) or network.pad_multiple > 1
    assert cost.macs > 0
    assert cost.exact_tiling == network.exact_tiling, "the registry claims what is not so"


def test_create_gives_what_the_registry_says():
    network = create("sesr-m5-x4")
    assert network.name == "sesr-m5-x4"
    assert network.scale == 4
    assert network.colour == "y" and network.channels == 1
    assert "MLSys 2022" in network.paper
    assert next(network.module.parameters()).device == torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("xlsr", ["has no scale", "xlsr-x3"]),
        ("xlsr-x7", ["scales (2, 3, 4)", "not 7"]),
        ("xlrs-x3", ["did you mean xlsr"]),
        ("nothing-like-it-x3", ["`edgesr models`"]),
        ("", ["no network"]),
        ("-x3", ["no network"]),
    ],
)
def test_a_wrong_name_says_what_to_type(text, words):
    with pytest.raises(UsageError) as caught:
        parse_name(text)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name", ["plain-d1c8-x2", "plain-d5c28-x3", "plain-d7c44-x4", "plain-y-d6c32-x3"]
)
def test_a_family_has_members_of_any_size(name):
    entry, scale = parse_name(name)
    assert entry is find_entry(entry.name), "asked twice, the same"
    network = create(name)
    depth, channels = len(network.module.body) - 1, network.module.body[0].square.out_channels
    assert name.removeprefix("plain-").removeprefix("y-") == f"d{depth}c{channels}-x{scale}"
    assert name == network.name
    assert network.module.body[0].square.in_channels == network.channels
    assert analyse(sketch(name)).parameters == entry.parameters[scale]
    assert entry.name not in entries()


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("plain-d4c32-x3", "plain-m-x3"),
        ("plain-y-d6c32-x3", "plain-y-m-x3"),
        ("recursive-k2c32p7-x2", "recursive-s-x2"),
    ],
)
def test_a_named_size_is_the_member(member, name):
    tensors = create(member).module.state_dict()
    create(name).module.load_state_dict(tensors)
    match = recognise(tensors, "any")
    assert match is not None and match.name == name


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("plain-d3c20-x2", "body.2.point.weight"),
        ("plain-y-d3c20-x2", "body.2.point.weight"),
        ("recursive-k3c20p2-x2", "passes.1.2.act.weight"),
    ],
)
def test_members_are_recognised_by_their_weights(name, lost):
    network = create(name)
    match = recognise(network.module.state_dict(), "any")
    assert match is not None and match.name == name
    tensors = dict(network.module.state_dict())
    tensors.pop(lost)
    family = name.split("-")[0]
    with pytest.raises(CheckpointError, match=rf"does not fit {family}-.* 1 missing .*{lost}"):
        recognise(tensors, "any")


@pytest.mark.parametrize(
    "scalar",
    [
        {"body.0.square.weight": torch.tensor(1.0), "body.1.square.weight": torch.empty(1)},
        {"kernels.0": torch.tensor(1.0), "passes.0.0.act.weight": torch.empty(1)},
        {"kernels.0": torch.empty(8, 8, 3, 3)},
    ],
)
def test_a_name_in_common_is_no_member(scalar):
    assert recognise(scalar, "any") is None


def test_a_recursive_member_has_the_size_in_its_name():
    entry, scale = parse_name("recursive-k3c20p2-x3")
    module = create("recursive-k3c20p2-x3").module
    assert (len(module.kernels), len(module.passes), module.kernels[0].shape[0]) == (3, 2, 20)
    assert sum(tensor.numel() for tensor in module.parameters()) == entry.parameters[scale]


def test_sizes_a_family_does_not_have():
    with pytest.raises(UsageError, match=r"`plain-d0c8`: convolutions from 1 to 64, not 0"):
        parse_name("plain-d0c8-x2")
    with pytest.raises(UsageError, match=r"channels from 1 to 512, not 9999"):
        parse_name("plain-d4c9999-x2")
    with pytest.raises(UsageError, match="`plain-y-d0c8`: convolutions from 1 to 64, not 0"):
        parse_name("plain-y-d0c8-x2")
    with pytest.raises(UsageError, match="`recursive-k2c8p0`: passes from 1 to 64, not 0"):
        parse_name("recursive-k2c8p0-x2")
    with pytest.raises(UsageError, match="`plain-d4c8` has no scale; choose one of plain-d4c8-x2"):
        parse_name("plain-d4c8")
    with pytest.raises(UsageError, match="comes in scales"):
        parse_name("plain-d4c8-x7")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="twice"):
        register("xlsr", paper=Paper("x", "y"), scales=(2,))(lambda scale: torch.nn.Identity())
    assert entries()["xlsr"].paper.venue == "CVPR Workshops 2021"

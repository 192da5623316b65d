"""Every network: lowered, written and run, it is the network; no layout operator in the file."""

from __future__ import annotations

import zlib

import pytest
import torch
from edgesr.export.lower import lower
from edgesr.export.tflite import fully_delegated, operator_list, write
from lowering_sketch import image, relative_difference, run_nchw

from edgesr.collapse import collapse
from edgesr.graph import shapes, trace
from edgesr.models import create, entries
from edgesr.models.recursive import Recursive
from edgesr.targets import find_target

TARGET = find_target("tflite")
HUGE = ("edsr", "mdsr", "rcan", "arbsr-rcan")
"""Forty million parameters, or four hundred convolutions."""
FORBIDDEN = {"TRANSPOSE", "GATHER", "RESHAPE", "BROADCAST_TO", "PACK", "TRANSPOSE_CONV"}


def all_names():
    return [f"{name}-x{scale}" for name, entry in entries().items() for scale in entry.scales]


def one_of_each_family():
    """The smallest `sesr-*`, `rlfn-*` ..., at a scale that differs between families."""
    families = {}
    for name in sorted(set(entries()) - set(HUGE), key=lambda name: (len(name), name)):
        families.setdefault(name.partition("-")[0], name)
    names = []
    for name in families.values():
        scales = entries()[name].scales
        names.append(f"{name}-x{scales[zlib.crc32(name.encode()) % len(scales)]}")
    return names


def check(name, tmp_path, forms, height=33, width=46):
    torch.set_num_threads(1)
    network = create(name)
    network.module.eval()
    for module in network.module.modules():
        if isinstance(module, torch.nn.PReLU):
            torch.nn.init.uniform_(module.weight, -0.5, 0.5)
    if isinstance(network.module, Recursive):
        # Passes of random kernels multiply: fifty times the image, and errors with it.
        for parameter in network.module.parameters():
            parameter.requires_grad_(False).mul_(0.7)
    height, width = (
        side // network.pad_multiple * network.pad_multiple for side in (height, width)
    )
    # Networks for any scale are folded for this one first, as in an export.
    any_scale = hasattr(network.module, "collapsed")
    graph = collapse(network)[0].module if any_scale else trace(network)
    lowered = lower(graph, forms)
    x = image(network.channels, height, width) * network.value_range
    with torch.inference_mode():
        want = network.module(x)
        # Folding is exact in double precision and adds in another order.
        assert relative_difference(lowered(x), want) <= (1e-4 if any_scale else 1e-6)
    path = tmp_path / "net.tflite"
    write(lowered, network, path, height, width)
    assert relative_difference(run_nchw(path, x), want) <= 1e-4
    names = operator_list(path)
    assert not FORBIDDEN & set(names)
    assert fully_delegated(path)
    return names


@pytest.mark.parametrize("name", one_of_each_family())
def test_a_written_network_is_the_network(name, tmp_path):
    names = check(name, tmp_path, TARGET.forms("fp32"))
    assert names.count("DEPTH_TO_SPACE") in (1, 2, 4)  # DRN x8: three steps and the anchor


@pytest.mark.slow
@pytest.mark.parametrize("name", all_names())
def test_every_network_at_every_scale(name, tmp_path):
    check(name, tmp_path, TARGET.forms("fp32"))


@pytest.mark.parametrize("name", ["plain-s-x2", "plain-m-x3", "ncnet-x3"])
def test_a_plain_net_has_its_convolutions_and_at_most_four_operators(name, tmp_path):
    names = check(name, tmp_path, TARGET.forms("fp32"))
    assert len(names) - names.count("CONV_2D") <= 4
    assert names[-1] == "DEPTH_TO_SPACE"


def test_shapes_need_no_computation():
    """Any size, at once; the last shape is the enlarged image."""
    graph = lower(trace(create("plain-s-x3")), TARGET.forms("fp32"))
    assert list(shapes(graph, 9000, 8000).values())[-1] == (1, 3, 27000, 24000)

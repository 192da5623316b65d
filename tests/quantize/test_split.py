"""Split networks: the same in float, closer to it in 8 bits, the same codes in every runtime."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from edgesr.export.lower import lower
from edgesr.export.pipeline import prepare
from edgesr.quantize import integer, quantize
from edgesr.quantize.calibrate import gather
from edgesr.quantize.mixed import KeptLayer, MixedPlan
from edgesr.quantize.ptq import Recipe, quantize_observed
from edgesr.quantize.split import split
from edgesr.quantize.statistics import observe
from edgesr.quantize.store import read
from edgesr.quantize.ties import REQUANTIZES
from small_networks import (
    C,
    Frame,
    Residual,
    conv,
    difference,
    in_litert,
    in_onnxruntime,
    photo,
    prelu,
    random_body,
    randomize,
)  # fmt: skip
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.errors import UnsupportedError
from edgesr.graph import aten, constant_of, input_of, is_call, trace
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.targets import INT8_FORMS

IMAGE = photo(40, 56, seed=7)
PHOTOS = [photo(96, 96, seed) for seed in (1, 2)]


class LongSkip(nn.Module):
    """Head, body, sum of both, tail: as SESR, EDSR and RLFN."""

    def __init__(self, *body):
        super().__init__()
        self.head, self.body, self.tail = conv(3, C), nn.Sequential(*body), conv(C, 12)

    def forward(self, x):
        first = self.head(x)
        image = 0.1 * self.tail(self.body(first) + first) + x.repeat_interleave(4, dim=1)
        return F.pixel_shuffle(image, 2).clamp(0.0, 1.0)


class Gated(nn.Module):
    """Attention: a convolution's result times the sigmoid of one, as RLFN's and RFDN's blocks."""

    def __init__(self, gates=C):
        super().__init__()
        self.mix, self.reduce, self.expand = conv(C, C, 1), conv(C, 4, 1), conv(4, gates, 1)
        self.a, self.b = conv(C, C), conv(2 * C, C, 1)

    def forward(self, x):
        mixed = self.mix(x)
        gated = mixed * torch.sigmoid(self.expand(self.reduce(mixed)))
        return self.b(torch.cat([F.relu(self.a(gated)), gated], 1))


class Gathering(nn.Module):
    """A chain of residual blocks, all of whose results one convolution reads, as IMDN."""

    def __init__(self, kernel=3):
        super().__init__()
        self.head, self.blocks = conv(3, C), nn.ModuleList(conv(C, C, kernel) for _ in range(3))
        self.gather, self.tail = conv(3 * C, C, 1), conv(C, 12)

    def forward(self, x):
        features = [self.head(x)]
        for block in self.blocks:
            features.append(block(F.relu(features[-1])) + features[-1])
        image = 0.1 * self.tail(F.relu(self.gather(torch.cat(features[1:], 1))))
        return F.pixel_shuffle(image, 2).clamp(0.0, 1.0)


class HeadInChain(nn.Module):
    """A convolution reads the head, and so does a sum that is needed further on."""

    def __init__(self):
        super().__init__()
        self.head, self.a, self.b, self.tail = conv(3, C), conv(C, C), conv(C, C), conv(C, 12)

    def forward(self, x):
        head = self.head(x)
        first = F.relu(self.a(head)) + head
        image = 0.1 * self.tail(F.relu(self.b(first) + first))
        return F.pixel_shuffle(image, 2).clamp(0.0, 1.0)


SPLIT = {
    "gathering": Gathering,
    "gathering_pointwise": lambda: Gathering(1),
    "head_in_chain": HeadInChain,
    "leaky": lambda: Frame(nn.Sequential(conv(C, C, 1), nn.LeakyReLU(0.05), conv(C, C), nn.ReLU())),
    "prelu": lambda: Frame(nn.Sequential(conv(C, C), prelu(-0.5, 1.5), conv(C, C), nn.ReLU())),
    "clip": lambda: Frame(nn.Sequential(conv(C, C), nn.Hardtanh(0.0, 0.7), conv(C, C), nn.ReLU())),
    "no_bias": lambda: Frame(nn.Sequential(conv(C, C, bias=False), prelu(-1.0, 0.3), conv(C, C))),
    "long_skip": lambda: LongSkip(conv(C, C), nn.ReLU(), conv(C, C)),
    "long_skip_of_prelu": lambda: LongSkip(conv(C, C), prelu(-0.5, 0.9)),
    "gate": lambda: Frame(nn.Sequential(conv(C, C), nn.ReLU(), Gated())),
    "gate_for_all": lambda: Frame(nn.Sequential(conv(C, C), nn.ReLU(), Gated(gates=1))),
    "head_of_convs": lambda: nn.Sequential(
        conv(3, C), conv(C, C), nn.ReLU(), conv(C, 12), nn.PixelShuffle(2), nn.Hardtanh(0.0, 1.0)
    ),
    "two_readers": lambda: Frame(nn.Sequential(conv(C, C), prelu(-0.5, 0.9), TwoReaders())),
}


class TwoReaders(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(C, C), conv(C, C, 1)

    def forward(self, x):
        return F.relu(self.a(x)) + F.relu(self.b(x))


def network_of(module):
    torch.manual_seed(0)
    return Network(randomize(module).eval(), "small", 2)


def lowered(network):
    return lower(trace(network), INT8_FORMS)


def apart(a, b):
    """Largest difference of two graphs, borders included, beyond the last one's rounding."""
    x = torch.rand(2, 3, 23, 30, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return float((a(x) - b(x)).abs().max())


def calls(graph, *targets):
    return [node for node in graph.graph.nodes if is_call(node, *targets)]


@pytest.mark.parametrize("name", SPLIT)
def test_the_same_numbers_in_float(name):
    graph = lowered(network_of(SPLIT[name]()))
    result = split(graph)
    assert apart(graph, result) < 2e-6
    widths = [sorted(constant_of(g, n.args[1]).shape for n in calls(g, aten.conv2d.default))
              for g in (graph, result)]  # fmt: skip
    assert widths[0] != widths[1]
    assert not calls(result, aten.prelu.default)


@pytest.mark.parametrize("seed", range(12))
def test_any_network_stays_the_same(seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    tail = [conv(C, C), prelu(-1.0, 1.0)]
    network = network_of(Frame(nn.Sequential(random_body(rng, C), *tail)))
    graph = lowered(network)
    assert apart(graph, split(graph)) < 1e-5


def test_a_long_skip_reads_the_image_and_no_sum():
    graph = lowered(network_of(SPLIT["long_skip"]()))
    result = split(graph)
    assert len(calls(result, aten.add.Tensor)) == len(calls(graph, aten.add.Tensor)) - 1
    (joined,) = calls(result, aten.cat.default)
    (reader,) = joined.users
    # Two halves of the body's result; 27 pixels under the head's kernel and a constant.
    assert constant_of(result, reader.args[1]).shape[1] == 2 * C + 28
    assert (C, 3, 3, 3) not in [
        constant_of(result, n.args[1]).shape for n in calls(result, aten.conv2d.default)
    ]


@pytest.mark.parametrize("name", ["long_skip", "head_of_convs"])
def test_codes_of_patches_are_those_of_the_image(name):
    network = network_of(SPLIT[name]())
    quantized = quantize(lowered(network), network, PHOTOS, recipe=Recipe(split=True))
    codes = integer.codes(quantized, IMAGE)
    spelled = quantized.graph
    image = codes[input_of(spelled).name]
    under = F.unfold(F.pad(image, (1, 1, 1, 1), value=-128.0), 3).reshape(1, 27, *image.shape[2:])
    found = [n for n in calls(spelled, aten.conv2d.default) if n.meta.get(REQUANTIZES)]
    assert len(found) == (2 if name == "long_skip" else 1)
    for node in found:
        pixel = constant_of(spelled, node.args[1])[:-1].flatten(1).argmax(1)
        assert set(pixel.tolist()) == set(range(27))  # some twice
        assert torch.equal(codes[node.name][:, :-1], under[:, pixel])
        assert len(codes[node.name][:, -1].unique()) == 1


def test_a_gate_is_doubled_with_what_it_gates():
    graph = lowered(network_of(SPLIT["gate"]()))
    result = split(graph)
    before, after = (
        next(n for n in calls(g, aten.mul.Tensor) if is_call(n.args[1], aten.sigmoid.default))
        for g in (graph, result)
    )
    assert is_call(before.args[0], aten.conv2d.default)
    assert is_call(after.args[0], aten.relu.default)
    assert len(constant_of(result, after.args[1].args[0].args[1])) == 2 * C


def test_what_clipping_costs_is_tried():
    """Of two balances, the one that is closer to float is taken, in whatever order they come."""
    graph, network, _ = prepare(load("sesr-m5-x2"))
    photos = gather(network, PHOTOS)
    far, near = (
        error(quantize_observed(observe(split(graph), network, photos, costs=[c]), network), graph)
        for c in (0.01, 2.0)
    )
    assert near < far
    for costs in ((0.01, 2.0), (2.0, 0.01)):
        tried = observe(split(graph), network, photos, costs=costs)
        assert error(quantize_observed(tried, network), graph) == near


def test_a_leaky_relu_is_split_behind_a_pointwise_convolution_only():
    leaky = nn.LeakyReLU(0.05)
    body = nn.Sequential(conv(C, C, 1), leaky, conv(C, C), leaky, conv(C, C), nn.ReLU())
    graph = lowered(network_of(Frame(body)))
    before, after = (len(calls(g, aten.leaky_relu.default)) for g in (graph, split(graph)))
    assert (before, after) == (2, 1)


def test_a_sum_that_is_needed_further_on_stays():
    blocks = [Residual(conv(C, C), nn.ReLU(), conv(C, C)) for _ in range(2)]
    graph = lowered(network_of(Frame(nn.Sequential(*blocks))))
    before, after = (len(calls(g, aten.add.Tensor)) for g in (graph, split(graph)))
    assert after == before - 1  # the last one alone is read by a convolution only


def test_a_sum_that_broadcasts_stays():
    class Brightened(nn.Module):
        def forward(self, x):
            return x + x.mean((2, 3), keepdim=True)

    graph = lowered(network_of(Frame(nn.Sequential(Brightened(), conv(C, C), prelu(-0.5, 0.5)))))
    result = split(graph)
    assert len(calls(result, aten.add.Tensor)) == len(calls(graph, aten.add.Tensor))
    assert apart(graph, result) < 2e-6


def test_nothing_to_split_is_said():
    body = nn.Sequential(nn.ReLU(), conv(C, C), nn.ReLU())
    graph = lowered(network_of(Frame(body)))
    with pytest.raises(UnsupportedError, match="leave --split out"):
        split(graph)


def error(quantized, reference):
    image = IMAGE if quantized.network.colour == "rgb" else IMAGE[..., :1]
    got = integer.run(quantized, image).astype(np.float64)
    x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None] / 255
    with torch.inference_mode():
        want = reference(x)[0].permute(1, 2, 0).numpy() * 255
    return float(np.mean((got - want) ** 2))


@pytest.mark.parametrize("name", ["ecbsr-m4c16-x2", "quicksrnet-small-x2", "sesr-m5-x2"])
def test_it_is_closer_to_float(name):
    """PReLUs, clips to [0, 1], a long skip: of trained networks, in squared grey levels."""
    graph, network, _ = prepare(load(name))
    usual, parted = (
        error(quantize(graph, network, PHOTOS, recipe=Recipe(split=on)), graph)
        for on in (False, True)
    )
    assert parted < 0.75 * usual


@pytest.mark.parametrize("name", SPLIT)
def test_runtimes_compute_its_reference(name, tmp_path):
    network = network_of(SPLIT[name]())
    quantized = quantize(lowered(network), network, PHOTOS, recipe=Recipe(split=True))
    expected = integer.run(quantized, IMAGE)
    assert len(np.unique(expected)) > 100
    assert difference(in_litert(quantized, IMAGE, tmp_path), expected) == 0
    assert difference(in_onnxruntime(quantized, IMAGE), expected) == 0


def test_the_command_says_what_it_did_and_statistics_know_their_form(tmp_path):
    runner, model = CliRunner(), "sesr-m5-x2"
    photos = tmp_path / "photos"
    photos.mkdir()
    from PIL import Image

    Image.fromarray(photo(96, 96)).save(photos / "a.png")
    out, stats = tmp_path / "net.int8.safetensors", tmp_path / "stats.json"
    done = runner.invoke(
        app, ["quantize", "calibrate", model, "--split", "--data", str(photos), "--out", str(stats)]
    )
    assert done.exit_code == 0, done.output
    refused = runner.invoke(
        app, ["quantize", "ptq", model, "--statistics", str(stats), "--out", str(out)]
    )
    assert refused.exit_code != 0 and "--split" in str(refused.output + str(refused.exception))
    done = runner.invoke(
        app, ["quantize", "ptq", model, "--split", "--statistics", str(stats), "--out", str(out),
              "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "split" in json.loads(done.stdout)["rows"][0]["done"]
    assert "sums, PReLUs, gates and clips split" in read(out).calibration["steps"]


@pytest.mark.parametrize(("model", "told"), [("ecbsr-m4c16-x2", True), ("plain-m-x3", False)])
def test_a_budget_that_needs_floats_points_to_split(model, told, tmp_path, monkeypatch):
    """Where there is something to split, and only there."""

    def within(quantized, max_drop, data):
        kept = KeptLayer(next(iter(quantized.weights)), "first", 0.01, None)
        return MixedPlan(quantized, (kept,), max_drop, 0.06, 0.04, len(quantized.weights))

    monkeypatch.setattr("edgesr.cli.quantize._within", within)
    out = tmp_path / "net.int8.safetensors"
    command = ["quantize", "ptq", model, "--max-drop", "0.05", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "drop 0.060 -> 0.040 dB" in done.output
    assert ("--split --max-drop" in done.output) == told

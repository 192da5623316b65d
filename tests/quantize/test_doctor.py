"""Every planted defect is found, by name, and the healthy network is left alone."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.quantize import integer
from edgesr.quantize.doctor import Budget, Sample, Severity, examine
from edgesr.quantize.doctor.places import places
from edgesr.quantize.islands import with_islands
from edgesr.quantize.ptq import Recipe
from sick_networks import (
    FIRST,
    SECOND,
    found,
    healthy,
    look,
    quantized,
    rescaled,
    sample,
    scaled,
    with_dead_channels,
)  # fmt: skip
from small_networks import C, body, conv, make, photo, randomize
from torch import nn

from edgesr.data.bicubic import imresize
from edgesr.data.datasets import pixel_hash
from edgesr.errors import UsageError
from edgesr.metrics.psnr import psnr
from edgesr.network import Network
from edgesr.runtime import NetworkSession, upscale

LOUD = slice(3, 5)


@pytest.fixture(scope="module")
def well():
    return look(healthy())


@pytest.fixture(scope="module")
def graph():
    return quantized(healthy())


def layer(diagnosis, name):
    return next(layer for layer in diagnosis.layers if layer.name == name)


def node_names(graph, name):
    """The tensors of one layer: the convolution's and, tied to it, the ReLU's."""
    place = next(place for place in places(graph) if place.name == name)
    return [place.source.name, place.node.name]


def test_a_healthy_network_has_no_layer_to_treat(well):
    assert [f for f in well.findings if f.layer] == []
    problems = {f.rule for f in well.findings if f.severity == Severity.PROBLEM}
    assert problems == {"network"}  # untrained: worse than bicubic, and told so
    fine = {f.rule for f in well.findings if f.severity == Severity.OK}
    assert fine >= {"channel ranges", "saturation", "black and white", "quality", "runtime"}


def test_layers_are_named_as_in_the_network(well):
    assert [layer.name for layer in well.layers] == [
        "head",
        FIRST,
        SECOND,
        "tail",
        "add after tail",
    ]
    assert layer(well, FIRST).readers == (SECOND,)


@pytest.mark.parametrize("compensated", [True, False], ids=["compensated", "not"])
def test_channels_a_hundred_times_too_loud_are_named_first(compensated):
    diagnosis = look(scaled(100, LOUD, compensated=compensated))
    first = diagnosis.findings[0]
    assert (first.severity, first.rule, first.layer) == (Severity.PROBLEM, "channel ranges", FIRST)
    assert first.command.startswith("edgesr quantize ptq NET --equalize")
    assert layer(diagnosis, FIRST).widest == (3, 4)
    assert layer(diagnosis, FIRST).drowned >= 10


def test_an_activation_that_hands_loud_channels_on_is_not_blamed():
    module = body(conv(C, C), nn.LeakyReLU(0.25), conv(C, C), nn.ReLU())
    torch.manual_seed(5)
    network = Network(randomize(module).eval(), "leaky-x2", 2)
    layers = dict(network.module.named_modules())
    layers[FIRST].weight[LOUD] *= 100
    layers[SECOND].weight[:, LOUD] /= 100
    assert [f.layer for f in found(look(network), "channel ranges")] == [FIRST]


def test_the_loud_channels_hide_in_the_plain_sqnr_but_not_in_the_median_channel():
    sick = layer(look(scaled(100, LOUD, compensated=True)), FIRST)
    fine = layer(look(healthy()), FIRST)
    assert sick.sqnr_alone > fine.sqnr_alone - 1
    assert sick.sqnr_channels < fine.sqnr_channels - 20
    assert sick.impact < fine.impact - 10


def test_the_treatment_it_names_heals():
    photos = [photo(96, 96, seed) for seed in (1, 2)]
    network = scaled(100, LOUD, compensated=True)
    options = {"calibration": photos, "recipe": Recipe(rounding=False)}
    healed = examine(network, [replace(sample(), hr=None)], **options)
    assert [f for f in healed.findings if f.severity == Severity.PROBLEM] == []
    assert layer(healed, FIRST).range_ratio < 8
    assert healed.mean("against_float") > look(network).mean("against_float") + 20


def test_a_whole_layer_scaled_up_is_named_though_int8_does_not_mind():
    truthless = replace(sample(), hr=None)  # untrained, it trails bicubic: that would be graver
    diagnosis = look(scaled(100, slice(None), compensated=True), truthless)
    (finding,) = found(diagnosis, "gain")
    assert finding.layer == FIRST and finding.severity == Severity.NOTICE
    assert found(diagnosis, "channel ranges") == []


def test_a_whole_layer_scaled_up_that_breaks_the_network_comes_first():
    network = scaled(100, slice(None), compensated=False)
    assert look(network).findings[0].layer == FIRST


def test_a_range_too_narrow_saturates_by_name(graph):
    diagnosis = look(rescaled(graph, node_names(graph, FIRST), 1 / 4))
    (finding,) = found(diagnosis, "saturation")
    assert finding.layer == FIRST and finding.severity == Severity.PROBLEM
    y = layer(diagnosis, FIRST)
    assert 0.01 < y.saturation < 0.9
    assert layer(diagnosis, SECOND).saturation < 1e-3


def test_a_range_too_wide_leaves_codes_unused(graph):
    diagnosis = look(rescaled(graph, node_names(graph, SECOND), 8))
    (finding,) = found(diagnosis, "unused codes")
    assert finding.layer == SECOND
    assert layer(diagnosis, SECOND).codes_used < 1 / 6
    assert layer(diagnosis, FIRST).codes_used > 1 / 2


def test_dead_channels_are_counted():
    diagnosis = look(with_dead_channels(5))
    (finding,) = found(diagnosis, "dead channels")
    assert finding.layer == FIRST and finding.figure == "5 of 16 channels"


def test_a_shifted_bias_is_a_tint_of_its_colour(graph):
    name = node_names(graph, "tail")[0]
    weights = graph.weights[name]
    step = graph.activations[next(iter(graph.activations))].scale  # 1/255
    source = graph.activations[node_names(graph, SECOND)[1]].scale
    bias = weights.bias.clone()
    bias[0::3] += torch.round(3 * step / (source * weights.scale[0::3])).to(torch.int32)
    sick = replace(graph, weights={**graph.weights, name: replace(weights, bias=bias)})
    diagnosis = look(sick)
    red, green, blue = diagnosis.output.tint
    assert red == pytest.approx(3, abs=0.5) and abs(green) < 0.2 and abs(blue) < 0.2
    (finding,) = found(diagnosis, "tint")
    assert finding.severity == Severity.PROBLEM and "tinted" in finding.cause


def test_an_output_scale_below_a_pixel_cannot_say_white(graph):
    pixels = graph.activations[next(reversed(graph.activations))]
    group = [name for name, p in graph.activations.items() if p == pixels and name != "x"]
    diagnosis = look(rescaled(graph, group, 0.98))
    (finding,) = found(diagnosis, "black and white")
    assert finding.figure == "0 to 250" and finding.severity == Severity.PROBLEM


def test_skip_operands_of_very_different_size_are_named():
    network = make("residual")
    layers = dict(network.module.named_modules())
    name = "body.0.body.2"
    layers[name].weight /= 500
    layers[name].bias /= 500
    diagnosis = look(network)
    (finding,) = found(diagnosis, "skip scales")
    assert finding.layer == "body.0" and name in finding.cause


def test_the_first_layer_sees_an_exact_input_so_alone_is_accumulated(well):
    head = layer(well, "head")
    assert head.sqnr_alone == pytest.approx(head.sqnr_accumulated, abs=0.3)
    assert layer(well, "tail").sqnr_accumulated < layer(well, "tail").sqnr_alone - 3


def test_tiles_give_the_figures_of_the_whole_image(graph):
    picture = sample(side=150)
    (image,) = look(graph, picture).images
    assert image.tiles == image.tiles_examined == 4
    floats = upscale(NetworkSession(graph.network), picture.lr)
    int8 = integer.run(graph, picture.lr)
    assert image.int8_truth == pytest.approx(psnr(int8, picture.hr, 2), abs=1e-6)
    assert image.float_truth == pytest.approx(psnr(floats, picture.hr, 2), abs=1e-3)
    assert image.against_float == pytest.approx(psnr(int8, floats, 2), abs=0.02)
    bicubic = imresize(picture.lr, 2)
    assert image.bicubic_truth == pytest.approx(psnr(bicubic, picture.hr, 2), abs=1e-6)


def test_the_worst_place_is_the_one_with_the_planted_error(graph):
    """A bright spot outside the calibrated range saturates; the crop must hold it."""
    sick = rescaled(graph, node_names(graph, FIRST), 1 / 3)
    dark = np.full((80, 80, 3), 12, np.uint8)
    dark[60:72, 8:20] = 250
    (crop,) = look(sick, replace(sample(), name="spot", lr=dark, hr=None)).crops
    assert crop.top <= 120 < crop.top + 64 and crop.left <= 16 and crop.truth is None


def test_without_ground_truth_the_drop_is_unknown(graph):
    diagnosis = look(graph, replace(sample(), hr=None))
    assert diagnosis.mean("drop") is None and diagnosis.images[0].against_float > 30
    assert not [f for f in diagnosis.findings if f.rule == "quality"]


def test_when_time_is_up_the_report_says_what_was_left_out(graph):
    many = [sample(side=250, seed=seed) for seed in (11, 12, 13)]
    diagnosis = look(graph, *many, budget=Budget(seconds=1e-3))
    assert diagnosis.images[0].tiles_examined == 1 and len(diagnosis.images) == 1
    assert any("1 of 3 images" in note for note in diagnosis.notes)
    assert any("tiles were examined" in note for note in diagnosis.notes)
    assert any("layers" in note for note in diagnosis.notes)


def test_of_a_large_photo_the_busiest_and_flattest_tiles_are_looked_at(graph):
    large = Sample("large", photo(600, 900, seed=3))
    diagnosis = look(graph, large, budget=Budget(0.5))
    (image,) = diagnosis.images
    assert (image.height, image.width) == (600, 900)
    assert 1 <= image.tiles_examined < image.tiles


def test_pictures_are_let_go_once_they_are_examined(graph):
    truths = []

    def samples():
        for seed in (11, 12, 13):
            assert all(truth() is None for truth in truths[:-1])
            made = sample(seed=seed)
            truths.append(weakref.ref(made.hr))
            yield made
            del made

    assert len(examine(graph, samples(), images=3, budget=Budget(600)).images) == 3


def test_float_islands_are_examined_like_the_rest(graph):
    mixed = with_islands(graph, [node_names(graph, FIRST)[0]])
    diagnosis = look(mixed)
    names = [layer.name for layer in diagnosis.layers]
    assert "head" in names and SECOND in names
    assert diagnosis.runtime is not None and diagnosis.runtime.identical > 0.99
    assert not found(diagnosis, "runtime")


def test_images_that_were_calibrated_on_are_named(graph):
    picture = sample()
    known = replace(graph, calibration={"images": [pixel_hash(picture.lr)]})
    (finding,) = found(look(known, picture), "data")
    assert picture.name in finding.cause


def test_a_layer_without_an_int8_form_is_named_instead_of_raised():
    network = Network(randomize(body(conv(16, 16), nn.GELU())).eval(), "gelu-x2", 2)
    diagnosis = examine(network, [sample()], model="NET")
    (finding,) = diagnosis.findings
    assert finding.layer == "body.1" and finding.severity == Severity.PROBLEM
    assert "gelu" in finding.cause and diagnosis.notes


def test_operators_that_runtimes_round_differently_are_listed():
    diagnosis = look(make("channel_attention"), target="onnx")
    kinds = {f.cause.split("`")[1] for f in found(diagnosis, "exactness")}
    assert {"mul", "sigmoid"} <= kinds
    assert not found(look(healthy()), "exactness")


def test_the_runtime_is_compared_with_the_reference(well):
    assert well.runtime.identical == 1 and well.runtime.one_partition
    assert well.runtime.operators["CONV_2D"] >= 4


def test_small_and_missing_images_are_refused(graph):
    tiny = replace(sample(), lr=photo(20, 60), hr=None)
    with pytest.raises(UsageError, match="60x20 is too small"):
        look(graph, tiny)
    with pytest.raises(UsageError, match="no image"):
        examine(graph, [])
    with pytest.raises(UsageError, match="no target is called `tpu`"):
        look(graph, target="tpu")


def test_a_diagnosis_is_json(well):
    facts = json.loads(json.dumps(well.to_dict(), allow_nan=False))
    assert facts["severity"] == well.severity.name.lower()
    assert facts["layers"][1]["name"] == FIRST


def test_luma_networks_are_examined_on_luma():
    torch.manual_seed(3)
    module = nn.Sequential(conv(1, 8), nn.ReLU(), conv(8, 4), nn.PixelShuffle(2))
    network = Network(randomize(module).eval(), "luma-x2", 2, colour="y")
    diagnosis = look(network)
    assert len(diagnosis.output.tint) == 1 and diagnosis.images[0].float_truth > 0
    assert diagnosis.crops == () or diagnosis.crops[0].truth.shape[2] == 1

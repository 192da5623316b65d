"""Float islands: the reference, LiteRT and ONNX Runtime agree; the search keeps its budget."""

import numpy as np
import pytest
import torch
from edgesr.export import export
from edgesr.quantize import integer, quantize
from edgesr.quantize.islands import float_nodes, is_mixed, with_islands
from edgesr.quantize.mixed import search
from small_networks import (
    EXACT,
    difference,
    in_litert,
    in_onnxruntime,
    photo,
    quantized_once,
)

from edgesr.errors import UsageError
from edgesr.graph import output_of

LOOSE = ("channel_attention", "contrast", "spatial_attention", "tanh_sigmoid", "average_pooling")
"""Sums of many floats, or functions of them, stand between the islands and the codes."""
IMAGE = photo(36, 44, seed=9)


@pytest.mark.parametrize("name", EXACT)
def test_islands_are_the_same_in_every_runtime(name, tmp_path):
    """Any convolutions may be in float. Rounding of float sums may move a value by a code."""
    quantized = quantized_once(name)
    rng = np.random.default_rng(len(name))
    names = list(quantized.weights)
    chosen = [n for n in names if rng.random() < 0.5] or names[:1]
    mixed = with_islands(quantized, chosen)
    assert set(mixed.weights) == set(names) - set(chosen)
    want = integer.run(mixed, IMAGE)
    close = 2 if name not in LOOSE else 3
    for found in (in_litert(mixed, IMAGE, tmp_path), in_onnxruntime(mixed, IMAGE)):
        assert difference(found, want) <= close
        assert np.mean(found != want) < (0.01 if name not in LOOSE else 0.15)


@pytest.mark.parametrize("name", ["plain", "residual", "concat", "spatial_attention"])
def test_all_convolutions_in_float_leave_the_rounding_of_pixels(name):
    quantized = quantized_once(name)
    mixed = with_islands(quantized, quantized.weights)
    x = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        pixels = (mixed.graph(x).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert difference(integer.run(mixed, IMAGE), pixels.astype(np.uint8)) <= 1
    assert not mixed.weights
    assert mixed.activations["x"] == quantized.activations["x"]
    last = output_of(mixed.graph).name
    assert mixed.activations[last] == quantized.activations[last]


def test_no_island_is_the_graph_itself():
    quantized = quantized_once("residual")
    same = with_islands(quantized, [])
    assert same.activations == quantized.activations and set(same.weights) == set(quantized.weights)
    assert not is_mixed(same) and float_nodes(same) == frozenset()


def test_pixels_are_moved_as_codes():
    """The last convolution's result is quantized before it is shuffled, not after."""
    quantized = quantized_once("plain")
    mixed = with_islands(quantized, quantized.weights)
    assert output_of(mixed.graph).name not in float_nodes(mixed)


@pytest.fixture(scope="module")
def coarse():
    """A network whose middle convolution has two channels a hundred times larger than the rest."""
    from edgesr.export.pipeline import prepare

    from edgesr.models.intake import load

    network = load("plain-m-x3")
    lowered, plain, _ = prepare(network)
    quantized = quantize(lowered, plain, [photo(96, 96, seed) for seed in (1, 2)])
    name = list(quantized.weights)[3]
    from dataclasses import replace

    good = quantized.weights[name]
    step = 60
    bad = replace(good, weight=(good.weight.float() / step).round().mul(step).to(torch.int8))
    return replace(quantized, weights=quantized.weights | {name: bad}), plain, name


def test_the_search_finds_the_layer_that_hurts(coarse):
    quantized, network, name = coarse
    photos = [photo(200, 260, seed) for seed in (3, 4)]
    said = []
    times = iter(range(100, 0, -1))
    first = search(quantized, network, 1e6, photos)
    assert (
        first.layers == () and first.met and set(first.quantized.weights) == set(quantized.weights)
    )
    budget = first.drop_before / 2
    plan = search(
        quantized, network, budget, photos, costs=lambda _: float(next(times)), report=said.append
    )
    assert [kept.node for kept in plan.layers] == [name]
    assert plan.layers[0].layer == "body.3"
    assert plan.met and plan.drop <= budget < plan.drop_before
    assert plan.layers[0].gain == pytest.approx(plan.drop_before - plan.drop)
    assert plan.layers[0].milliseconds is not None and said
    assert name not in plan.quantized.weights
    assert "1 of 7 convolutions in float" in plan.summary()[0]
    assert plan.quantized.calibration["mixed"]["layers"][0]["node"] == name


def test_a_mixed_graph_goes_through_every_target(coarse, tmp_path):
    quantized, _, name = coarse
    mixed = with_islands(quantized, [name])
    for target in ("tflite", "onnx", "openvino"):
        manifest = export(mixed, target=target, shape=(24, 40), out=tmp_path).manifest
        assert manifest.precision == "int8"
        assert manifest.parity["max_difference"] <= manifest.parity["tolerance"]
        if target == "tflite":
            assert manifest.operators["DEQUANTIZE"] == 1
            assert manifest.operators["QUANTIZE"] == 3  # uint8 ends, and the island's


@pytest.mark.parametrize(
    ("budget", "photos", "words"),
    [(0.0, 1, "nothing to choose"), (0.1, 0, "needs photos")],
)
def test_nothing_to_go_by(coarse, budget, photos, words):
    quantized, network, _ = coarse
    with pytest.raises(UsageError, match=words):
        search(quantized, network, budget, [photo(96, 96)] * photos)


def test_a_stopwatch_times_a_checked_file():
    from edgesr.export.timing import Stopwatch

    quantized = quantized_once("plain")
    watch = Stopwatch("tflite", (48, 64))
    first = watch(quantized)
    assert 0 < first < 1000 and watch(quantized) == first
    assert watch(with_islands(quantized, quantized.weights)) != first

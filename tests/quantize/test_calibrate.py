"""Calibration: which images, which patches, which ranges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgesr.quantize.calibrate import (
    gather,
    observe_channels,
    observe_values,
    patches,
    to_input,
)
from edgesr.quantize.observers import Histogram
from small_networks import make, photo
from torch import nn

from edgesr.data.datasets import pixel_hash
from edgesr.errors import UsageError
from edgesr.graph import trace
from edgesr.network import Network


class Halve(nn.Module):
    def forward(self, x):
        return x * 0.5


def test_extremes_are_those_of_the_patches():
    network = Network(Halve(), "halve", 1)
    dark, bright = np.full((8, 8, 3), 51, np.uint8), np.full((8, 8, 3), 204, np.uint8)
    bright[..., 2] = 255
    photos = gather(network, iter([dark, bright]))
    seen = observe_channels(trace(network), network, photos)
    assert seen["x"][0] == pytest.approx([0.2] * 3) and seen["x"][1] == pytest.approx([0.8, 0.8, 1])
    assert seen["mul"][1] == pytest.approx([0.4, 0.4, 0.5])
    assert photos.hashes == [pixel_hash(dark), pixel_hash(bright)]


def test_histograms_count_every_value():
    network = Network(Halve(), "halve", 1)
    images = [photo(8, 8, seed) for seed in range(3)]
    photos, graph = gather(network, images), trace(network)
    extremes = observe_channels(graph, network, photos)
    seen = observe_values(
        graph,
        network,
        photos,
        {name: Histogram(low.min(), high.max()) for name, (low, high) in extremes.items()},
    )
    values = np.stack(images).astype(np.float64) / 510
    assert seen["mul"].counts.sum() == values.size
    assert (seen["mul"].low, seen["mul"].high) == pytest.approx((values.min(), values.max()))
    counted = (seen["mul"].counts * seen["mul"].centres).sum() / values.size
    assert counted == pytest.approx(values.mean(), abs=1e-3)
    assert [high for _, high in seen["mul"].extremes] == pytest.approx(
        [image.max() / 510 for image in images]
    )


def test_images_are_taken_one_at_a_time():
    network = Network(Halve(), "halve", 1)
    alive = []

    def stream():
        for seed in range(3):
            alive.append(seed)
            yield photo(8, 8, seed)
            assert len(alive) == seed + 1

    assert len(gather(network, stream()).hashes) == 3


def test_a_batch_takes_patches_of_one_size_from_all_images():
    network = Network(Halve(), "halve", 1)
    images = [photo(8, 8, seed) for seed in range(5)] + [photo(8, 12)]
    batch = gather(network, images).batch(network, 3)
    assert batch.shape == (3, 3, 8, 8)
    assert torch.equal(batch[0], to_input(images[0], network)[0])
    assert torch.equal(batch[2], to_input(images[4], network)[0])


def test_patches_span_dark_bright_and_busy():
    image = np.full((64, 96, 3), 128, np.uint8)
    image[:32, :32] = 3
    image[:32, 32:64] = 250
    image[32:, 64:] = np.random.default_rng(0).integers(90, 170, (32, 32, 3))
    found = list(patches(image, size=32))
    assert [p.shape for p in found] == [(32, 32, 3)] * 3
    assert found[0].std() > 10 and found[1].max() == 3 and found[2].min() == 250


def test_small_images_are_taken_whole_and_cut_to_the_multiple():
    (whole,) = patches(photo(20, 31))
    assert whole.shape == (20, 31, 3)
    (cut,) = patches(photo(20, 31), multiple=8)
    assert cut.shape == (16, 24, 3)
    with pytest.raises(UsageError, match="too small"):
        list(patches(photo(5, 31), multiple=8))


def test_evaluation_images_are_refused():
    network = make("plain")
    images = [photo(40, 40, seed) for seed in range(3)]
    with pytest.raises(UsageError, match=r"calibration image 2 \(40x40\).*evaluation"):
        gather(network, images, forbidden={pixel_hash(images[1])})


def test_the_hash_is_of_pixels_and_shape():
    image = photo(12, 20)
    assert pixel_hash(image) == pixel_hash(image.copy()) == pixel_hash(np.asfortranarray(image))
    assert pixel_hash(image) != pixel_hash(image.reshape(20, 12, 3))
    changed = image.copy()
    changed[3, 4, 1] ^= 1
    assert pixel_hash(changed) != pixel_hash(image)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)],
    ids=["float", "grey", "alpha"],
)
def test_other_kinds_of_images_are_refused(image):
    network = Network(Halve(), "halve", 1)
    with pytest.raises(UsageError, match="uint8 HxWx3"):
        gather(network, [image])


def test_luma_networks_see_luma():
    network = Network(Halve(), "halve", 1, colour="y")
    white = np.full((4, 4, 3), 255, np.uint8)
    x = to_input(white, network)
    assert x.shape == (1, 1, 4, 4)
    assert torch.allclose(x, torch.full_like(x, 235 / 255))

"""Networks that subtract a mean colour read pixels in 8 bits: nothing dark or bright clips."""

from __future__ import annotations

import numpy as np
import torch
from edgesr.export.lower import lower
from edgesr.quantize import integer, quantize
from edgesr.quantize.forms import spell
from edgesr.quantize.ptq import Recipe
from small_networks import Shifted, make, photo, randomize
from torch.nn import functional as F

from edgesr.graph import aten, constant_of, input_of, is_call, trace
from edgesr.network import Network
from edgesr.targets import INT8_FORMS


def lowered(network):
    return lower(trace(network), INT8_FORMS)


def reader_of_the_image(graph):
    """What makes pixels out of the image, and not the anchor's copies."""
    (found,) = [
        n
        for n in input_of(graph).users
        if is_call(n, aten.conv2d.default) and len(constant_of(graph, n.args[1])) == 4
    ]
    return found


def test_borders_are_those_of_the_image_less_its_mean():
    graph = lowered(make("shifted"))
    spelled = spell(graph)
    x = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert float((spelled(x) - graph(x)).abs().max()) < 1e-6
    before, after = ([n for n in g.graph.nodes if is_call(n, aten.sub.Tensor)]
                     for g in (graph, spelled))  # fmt: skip
    assert before
    assert not after


def test_codes_are_the_pixels_whatever_the_photos_held():
    network = make("shifted")
    bright = [np.clip(photo(96, 96, seed), 120, 200) for seed in (1, 2)]
    for recipe in (Recipe(), Recipe(split=True)):
        quantized = quantize(lowered(network), network, bright, recipe=recipe)
        image = photo(40, 56, seed=7)
        image[:4], image[4:8] = 0, 255
        codes = integer.codes(quantized, image)
        pixels, constant = codes[reader_of_the_image(quantized.graph).name].split([3, 1], 1)
        assert torch.equal(pixels, codes[input_of(quantized.graph).name])
        assert len(constant.unique()) == 1


class ColourByColour(Shifted):
    def forward(self, x):
        less = x - self.mean
        again = F.conv2d(less, self.tail.weight[:3, :1], padding=1, groups=3)
        first = F.relu(self.head(less)) + F.relu(self.head(again))
        image = 0.1 * self.tail(first) + x.repeat_interleave(4, dim=1)
        return F.pixel_shuffle(image, 2).clamp(0.0, 1.0)


def test_what_a_depthwise_convolution_reads_too_stays():
    network = Network(randomize(ColourByColour().eval()), "colours", 2)
    spelled = spell(lowered(network))
    assert 4 not in [
        len(constant_of(spelled, n.args[1]))
        for n in input_of(spelled).users
        if is_call(n, aten.conv2d.default)
    ]

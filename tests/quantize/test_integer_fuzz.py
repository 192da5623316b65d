"""Random networks, random weights: the reference and two runtimes, code by code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgesr.quantize import integer
from small_networks import (
    Frame,
    difference,
    in_litert,
    in_onnxruntime,
    onnxruntime_is_exact,
    photo,
    quantized,
    random_body,
    randomize,
)  # fmt: skip

from edgesr.graph import trace
from edgesr.network import Network


@pytest.mark.parametrize("seed", range(20))
def test_runtimes_agree_on_random_networks(seed, tmp_path):
    """Three draws of weights each; a wiring is traced once, which is what takes the time."""
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([4, 8, 12, 20]))
    module = Frame(random_body(rng, channels), channels, int(rng.integers(1, 4)))
    network = Network(module.eval(), f"random {seed}", module.scale)
    graph = trace(network)
    for draw in range(3):
        torch.manual_seed(3 * seed + draw)
        disturb(graph, rng)
        integers = quantized(network, graph)
        image = photo(24, 34, draw)
        expected = integer.run(integers, image)
        where = f"draw {draw} of {module.body}"
        assert difference(in_litert(integers, image, tmp_path), expected) == 0, where
        if onnxruntime_is_exact():
            assert difference(in_onnxruntime(integers, image), expected) == 0, where


def disturb(graph, rng):
    """Weights of any size, biases, slopes."""
    randomize(graph)
    for parameter in graph.parameters():
        if parameter.dim() == 1:
            parameter.uniform_(*sorted(rng.uniform(-0.5, 1.2, 2)))
        else:
            parameter.mul_(rng.uniform(0.3, 3))

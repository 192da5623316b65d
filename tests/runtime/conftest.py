"""Small artifacts of every kind, written once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from edgesr.export.lower import lower
from edgesr.export.writers import WRITERS, Form
from edgesr.quantize import quantize

from edgesr.analysis import receptive_field
from edgesr.graph import trace
from edgesr.manifest import Manifest, Quantization, sha256_of
from edgesr.models import create
from edgesr.network import Network
from edgesr.targets import find_target

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def seeded() -> Callable[[str], Network]:
    """`seeded("plain-s-x3")` -> a network with random weights, the same in every run."""
    return _seeded


def _seeded(name: str) -> Network:
    torch.manual_seed(0)
    network = create(name)
    network.module.eval().requires_grad_(False)
    return network


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """`write("plain-s-x3", "tflite", "int8", (40, 50))` -> path, with its manifest beside it."""
    made: dict[tuple[object, ...], Path] = {}

    def make(
        name: str, target: str, precision: str = "fp32", shape: tuple[int, int] | None = None
    ) -> Path:
        key = (name, target, precision, shape)
        if key not in made:
            made[key] = _write(_seeded(name), target, precision, shape, tmp_path_factory)
        return made[key]

    return make


def _write(
    network: Network,
    target: str,
    precision: str,
    shape: tuple[int, int] | None,
    tmp: pytest.TempPathFactory,
) -> Path:
    goal = find_target(target)
    plain = network.with_module(trace(network))
    graph = lower(plain.module, goal.forms(precision))
    dtype, pixels = "float32", None
    if precision == "int8":
        images = np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3), np.uint8)
        graph = quantize(graph, plain, list(images))
        dtype, pixels = "uint8", Quantization(network.value_range / 255, 0)
    path = tmp.mktemp("artifact") / f"{network.name}_{precision}{goal.suffix}"
    written = WRITERS[target](graph, plain, path, shape, Form(precision))
    height, width = shape or (None, None)
    Manifest(
        network=network.name, artifact=path.name, target=target, precision=precision,
        scale=network.scale, colour=network.colour, value_range=network.value_range,
        layout=goal.layout, dtype=dtype, height=height, width=width,
        halo=receptive_field(network).halo, input_quantization=pixels, output_quantization=pixels,
        sha256=sha256_of(*written.files),
    ).write_beside(path)  # fmt: skip
    return path

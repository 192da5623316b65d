"""Calibration runs as files: what is read is what was seen, cut-off runs go on."""

from __future__ import annotations

import json

import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize import statistics
from edgesr.quantize.observers import OBSERVERS, OUTPUT
from edgesr.quantize.ptq import Recipe, quantize, quantize_observed
from small_networks import make, photo

from edgesr.data.bicubic import imresize
from edgesr.data.datasets import dataset, pixel_hash
from edgesr.data.fingerprints import evaluation_hashes
from edgesr.errors import BadFileError, UsageError
from edgesr.graph import trace
from edgesr.targets import INT8_FORMS

PHOTOS = [photo(100, 110, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def network():
    return make("residual")


@pytest.fixture(scope="module")
def graph(network):
    return lower(trace(network), INT8_FORMS)


@pytest.fixture(scope="module")
def seen(network, graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("seen") / "stats.json"
    return statistics.calibrate(graph, network, PHOTOS, path), path


@pytest.mark.parametrize("observer", [OUTPUT, *OBSERVERS])
def test_a_file_gives_the_integers_of_the_photos(network, graph, seen, observer):
    recipe = Recipe(observer=observer, rounding=False, bias_correction=False)
    direct = quantize(graph, network, PHOTOS, recipe=recipe)
    from_file = quantize_observed(statistics.read(seen[1], graph), network, recipe=recipe)
    assert from_file.activations == direct.activations
    for name, weights in direct.weights.items():
        assert torch.equal(weights.weight, from_file.weights[name].weight)
        assert torch.equal(weights.bias, from_file.weights[name].bias)
    assert from_file.calibration["images"] == direct.calibration["images"]


class Stopped(Exception):  # noqa: N818
    """Someone pulled the plug."""


@pytest.mark.parametrize("last", [("ranges", 3), ("histograms", 2)])
def test_a_run_cut_off_goes_on(network, graph, seen, tmp_path, monkeypatch, last):
    monkeypatch.setattr(statistics, "SAVE_EVERY", 0.0)
    path, ran = tmp_path / "stats.json", []

    def stop(what, done, total):
        if (what, done) == last:
            raise Stopped

    with pytest.raises(Stopped):
        statistics.calibrate(graph, network, PHOTOS, path, report=stop)
    assert not path.exists()
    statistics.calibrate(
        graph, network, PHOTOS, path, report=lambda what, done, total: ran.append((what, done))
    )
    first = next(step for step in ran if step[0] != "reading photos")
    assert first[1] in (last[1], last[1] + 1) and first[0] == last[0]
    assert json.loads(path.read_text()) == json.loads(seen[1].read_text())
    assert not list(tmp_path.glob("*.part"))


def test_other_photos_start_over(network, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "SAVE_EVERY", 0.0)
    path, ran = tmp_path / "stats.json", []

    def stop(what, done, total):
        if (what, done) == ("ranges", 4):
            raise Stopped

    with pytest.raises(Stopped):
        statistics.calibrate(graph, network, PHOTOS, path, report=stop)
    statistics.calibrate(
        graph, network, PHOTOS[:2], path, report=lambda what, done, total: ran.append((what, done))
    )
    assert ("ranges", 1) in ran


def test_statistics_of_another_network_are_refused(seen):
    other = lower(trace(make("residual", seed=1)), INT8_FORMS)
    with pytest.raises(BadFileError, match="another network, other weights"):
        statistics.read(seen[1], other)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00\xff", b'{"format": "edgesr-statistics-2"}'])
def test_damaged_files_are_refused(graph, tmp_path, damage):
    path = tmp_path / "stats.json"
    path.write_bytes(damage)
    with pytest.raises(BadFileError, match=r"stats\.json"):
        statistics.read(path, graph)


def test_test_images_are_refused(network, graph, tmp_path):
    _, image = next(iter(dataset("samples")))
    for picture in (image, imresize(image, 1 / 3)):
        assert pixel_hash(picture) in evaluation_hashes()
        with pytest.raises(UsageError, match="also in the evaluation data"):
            statistics.calibrate(
                graph, network, [picture], tmp_path / "s.json", forbidden=evaluation_hashes()
            )

"""The certificate: what it calls a difference, and the file it travels in."""

import json
import math

import pytest
import torch
from safetensors import safe_open
from torch import nn

from edgesr.collapse import collapse, save
from edgesr.collapse.certificate import compare, example_images
from edgesr.errors import OutputExistsError
from edgesr.network import Network


def network(module, **facts):
    return Network(module, "test", scale=1, **facts)


def test_a_difference_is_placed_where_it_is():
    image = torch.zeros(1, 3, 11, 13)
    expected = torch.full((1, 3, 22, 26), 4.0)
    found = expected.clone()
    found[0, 0, 3, 13] += 0.4  # within two input pixels of the top
    found[0, 1, 11, 13] += 0.04
    difference = compare([expected], [found], [image], band=2)
    assert difference.border == pytest.approx(0.1) and difference.interior == pytest.approx(0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_differs(value):
    output = torch.full((1, 1, 9, 9), value)
    assert compare([output], [output], [output], band=1).largest == math.inf


def test_another_size_differs():
    a, b = torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 8)
    assert compare([a], [b], [a], band=1).largest == math.inf


@pytest.mark.parametrize("multiple", [1, 2, 3, 4])
def test_example_images_have_odd_sizes_that_the_network_accepts(multiple):
    source = network(nn.Identity(), value_range=255.0, pad_multiple=multiple)
    for name, image in example_images(source, band=9):
        rows, columns = image.shape[2:]
        assert rows % multiple == columns % multiple == 0 and rows // multiple % 2, name
        assert image.dtype == torch.float64 and 0 <= image.min() < image.max() <= 255
        assert min(rows, columns) > 2 * 9  # there is an interior
        assert image.max() > 200


def test_the_file_holds_weights_by_layer_and_the_certificate(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)).eval()
    plain, certificate = collapse(network(module))
    path = save(plain, certificate, tmp_path / "plain.safetensors")
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == {"0.weight"}  # a fresh batch norm adds nothing
        header = file.metadata()
    assert json.loads(header["certificate"])["exact"] is True
    assert json.loads(header["edgesr"])["name"] == "test"
    assert [p.name for p in tmp_path.iterdir()] == ["plain.safetensors"]
    with pytest.raises(OutputExistsError, match="--force"):
        save(plain, certificate, path)
    save(plain, certificate, path, force=True)

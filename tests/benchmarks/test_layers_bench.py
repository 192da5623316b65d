"""Where the time goes: every layer once, together the whole network."""

import json

import pytest
from edgesr.benchmarks import layers
from edgesr.benchmarks.layers import Layer, rows_of


@pytest.mark.parametrize("runtime", ["litert", "openvino"])
def test_every_convolution_is_a_layer_and_none_is_counted_twice(runtime, tmp_path, capsys):
    out = tmp_path / "layers.json"
    options = ["--runtime", runtime, "--height", "48", "--width", "64", "--runs", "3"]
    assert layers.main(["plain-m-x3", *options, "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    found = document["layers"]
    # 3x32, four times 32x32, 32x27, all 3x3; the image's one-hot 1x1 joins at the sum.
    weights = 9 * (3 * 32 + 4 * 32 * 32 + 32 * 27) + 3 * 27
    assert sum(layer["gmac"] for layer in found) == pytest.approx(48 * 64 * weights / 1e9)
    assert sum(layer["gmac"] > 0 for layer in found) == 7
    ends = [layer["name"] for layer in found if not layer["gmac"]]
    assert ("uint8 ends" in ends) == (runtime == "litert")
    assert document["gemm_gmac_per_s"] > 0
    assert "| together |" in capsys.readouterr().out


def test_shares_and_losses():
    one, two, together = rows_of([Layer("a", 3.0, 0.2), Layer("b", 1.0, 0.0)], rate=0.1)
    assert (one["share"], one["rate"], one["lost"]) == ("75.0", "67", "1.00")
    assert (two["rate"], two["lost"]) == (None, "1.00")
    assert (together["ms"], together["rate"], together["lost"]) == ("4.00", "50", "2.00")


def test_a_wrong_name_is_one_sentence(capsys):
    assert layers.main(["no-such-net"]) != 0
    assert capsys.readouterr().err.startswith("edgesr: ")

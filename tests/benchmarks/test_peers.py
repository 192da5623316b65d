"""What the converters are handed is the network; ratios by hand; a failing peer keeps its row."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import Load, this_machine
from edgesr.benchmarks.peers import converters, environments, exchange, tflite_file
from edgesr.benchmarks.peers.converters import Comparison, Contestant, File

from edgesr.errors import EnvironmentLimitError, UnsupportedError, UsageError
from edgesr.models.registry import create


@pytest.fixture(params=["plain-s-x2", "ncnet-x3"])
def network(request):
    torch.manual_seed(0)
    made = create(request.param)
    for parameter in made.module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    made.module.eval()
    return made


def test_the_chain_is_the_network(network, noise):
    """The peers' weights give the network's own pixels."""
    x = torch.from_numpy(noise.astype(np.float32) / 255).permute(2, 0, 1)[None]
    chain = exchange.chain_of(network)
    with torch.no_grad():
        assert torch.allclose(exchange.ChainModule(chain)(x), network.module(x), atol=1e-5)


def test_raw_pixels_give_the_same_image(network, noise):
    x = torch.from_numpy(noise.astype(np.float32)).permute(2, 0, 1)[None]
    chain = exchange.chain_of(network)
    with torch.no_grad():
        unit = exchange.ChainModule(chain)(x / 255) * 255
        pixels = exchange.ChainModule(chain, value_range=255.0)(x)
    assert torch.allclose(unit, pixels, atol=1e-2)


def test_other_networks_are_refused():
    with pytest.raises(UnsupportedError, match="espcn"):
        exchange.chain_of(create("espcn-x3"))


def test_the_exchange_folder_holds_what_the_scripts_read(noise, tmp_path):
    network = create("ncnet-x2")
    exchange.write_exchange(network, [noise, noise[::-1]], tmp_path, 36, 48)
    facts = json.loads((tmp_path / "network.json").read_text())
    arrays = np.load(tmp_path / "weights.npz")
    assert len([name for name in arrays if name.startswith("weight_")]) == facts["layers"]
    assert np.load(tmp_path / "calibration.npy").shape == (2, 36, 48, 3)
    import onnxruntime

    x = noise.astype(np.float32).transpose(2, 0, 1)[None] / 255
    wanted = exchange.reference(exchange.chain_of(network), noise)
    for name, unit in (("network.onnx", 1), ("network_pixels.onnx", 255)):
        session = onnxruntime.InferenceSession(str(tmp_path / name))
        (got,) = session.run(None, {"x": x * np.float32(unit)})
        pixels = np.round(got[0].transpose(1, 2, 0) * (255 / unit)).astype(int)
        assert np.abs(pixels - wanted).max() <= 1


def comparison(files):
    return Comparison(
        files, {}, 360, 640, 1, [], Plan(), this_machine(), Load(0.0, 0.0, 0.0), "2026-01-01"
    )


def test_ratios_are_against_our_file_of_the_same_network_and_precision():
    files = [
        File("plain", "edgesr", "int8", samples=[50.0, 60.0, 61.0]),
        File("plain", "tensorflow", "int8", samples=[90.0, 88.0, 100.0]),
        File("plain", "edgesr", "fp32", samples=[200.0]),
        File("plain", "tensorflow", "fp32", samples=[200.0]),
        File("ncnet", "tensorflow", "int8", samples=[1.0]),
        File("plain", "onnx2tf", "int8", error="crashed"),
    ]
    rows = comparison(files).table()
    assert rows[1]["ratio"] == pytest.approx(90 / 60)
    assert rows[1]["best_ratio"] == pytest.approx(88 / 50)
    assert rows[3]["ratio"] == 1.0
    assert "ratio" not in rows[4]
    assert rows[5]["error"] == "crashed" and "median_ms" not in rows[5]


def test_ratios_are_against_our_file_with_the_same_ends():
    files = [
        File("plain", "edgesr", "int8", input_type="uint8", samples=[60.0]),
        File("plain", "edgesr", "int8", input_type="float32", samples=[50.0]),
        File("plain", "litert-torch", "int8", input_type="float32", samples=[75.0]),
        File("plain", "tensorflow", "int8", input_type="uint8", samples=[75.0]),
        File("plain", "other", "int8", input_type="int8", samples=[75.0]),
    ]
    ratios = [row["ratio"] for row in comparison(files).table()]
    assert ratios == pytest.approx([1.0, 1.0, 1.5, 1.25, 1.25])


def test_no_machine_path_gets_into_the_results(tmp_path):
    text = comparison([File("plain", "edgesr", "int8", path=tmp_path / "x.tflite")]).to_json()
    assert str(tmp_path) not in text
    assert json.loads(text)["files"][0]["path"] == "x.tflite"


@pytest.fixture
def folder(tmp_path):
    """An exchange folder in which only the names are right."""
    for name in exchange.FILES:
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_peer_that_fails_keeps_its_row_and_its_reason(folder, monkeypatch):
    script = folder / "convert.py"
    script.write_text("import sys; sys.exit('no such operator')")
    peer = environments.Peer("broken", (3, 11), str(script))
    monkeypatch.setattr(converters, "environment", lambda _peer, _cache: Path(sys.executable))
    file = converters._convert(Contestant("broken", peer), "plain", folder, "int8", folder)
    assert (file.path, file.error) == (None, "no such operator")


def test_a_peer_that_works_reports_its_time_and_versions(folder, monkeypatch):
    script = folder / "convert.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "pathlib.Path(sys.argv[2]).write_bytes(b'x')\n"
        "print('chatter')\n"
        "print(json.dumps({'seconds': 1.5, 'versions': {'tool': '3'}}))\n"
    )
    peer = environments.Peer("fine", (3, 11), str(script))
    monkeypatch.setattr(converters, "environment", lambda _peer, _cache: Path(sys.executable))
    file = converters._convert(Contestant("fine", peer), "plain", folder, "int8", folder)
    assert (file.seconds, file.versions, file.error) == (1.5, {"tool": "3"}, "")
    assert file.path is not None and file.path.exists()

    # The same again is not converted again; other weights are.
    def gone(_peer, _cache):
        raise EnvironmentLimitError("asked for the environment")

    monkeypatch.setattr(converters, "environment", gone)
    again = converters._convert(Contestant("fine", peer), "plain", folder, "int8", folder)
    assert (again.seconds, again.error) == (1.5, "")
    (folder / "weights.npz").write_text("others")
    other = converters._convert(Contestant("fine", peer), "plain", folder, "int8", folder)
    assert other.error == "asked for the environment" and not file.path.exists()


def test_a_python_too_old_is_said_before_anything_is_built(tmp_path):
    with pytest.raises(EnvironmentLimitError, match=r"needs Python 3\.90"):
        environments.environment(environments.Peer("future", (3, 90), "x.py"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_images_fill_the_size(tmp_path, noise):
    from PIL import Image

    Image.fromarray(noise).save(tmp_path / "a.png")
    names, (image,) = converters.images_of(tmp_path, 50, 60, 8)
    assert names == ["a.png"] and image.shape == (50, 60, 3)
    assert np.array_equal(image[:36, :48], noise) and np.array_equal(image[36:, :48], noise[:14])
    with pytest.raises(UsageError, match="no PNG"):
        (tmp_path / "empty").mkdir()
        converters.images_of(tmp_path / "empty", 50, 60, 8)


def test_the_scripts_know_nothing_of_edgesr():
    """They run where it is not installed."""
    for script in Path(exchange.__file__).parent.glob("convert_*.py"):
        assert "import edgesr" not in script.read_text()
        assert "from edgesr" not in script.read_text()


def test_help_answers(capsys):
    with pytest.raises(SystemExit):
        converters.main(["--help"])
    assert "--cache" in capsys.readouterr().out


def test_units_of_a_file_follow_its_quantization():
    unit = tflite_file.Model._unit
    assert unit({"dtype": np.float32, "quantization": (0.0, 0)}) == pytest.approx(1 / 255)
    assert unit({"dtype": np.uint8, "quantization": (1 / 255, 0)}) == pytest.approx(1 / 255)
    assert unit({"dtype": np.uint8, "quantization": (1.0, 0)}) == 1.0

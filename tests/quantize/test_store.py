"""The file of a quantized graph: what goes in comes out, and nothing hostile gets in."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from edgesr.export.lower import lower
from edgesr.export.pipeline import prepare
from edgesr.quantize import integer, quantize, store
from edgesr.quantize.ptq import Recipe
from small_networks import make, photo, quantized_once

from edgesr.errors import BadFileError, CheckpointError, UnsupportedError, UsageError
from edgesr.graph import layer_of, tensor_nodes, trace
from edgesr.models.intake import load
from edgesr.runtime import NetworkSession
from edgesr.targets import INT8_FORMS

IMAGE = photo(36, 44, seed=9)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "plain.int8.safetensors"
    store.save(quantized_once("plain"), path)
    return path


def header_of(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_metadata(path, target, change, key="graph"):
    """The file with one entry of its metadata changed."""
    header, body = header_of(path.read_bytes())
    metadata = header["__metadata__"]
    if callable(change):
        value = json.loads(metadata[key])
        change(value)
        metadata[key] = json.dumps(value)
    else:
        metadata[key] = change
    head = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(head)) + head + body)
    return target


@pytest.mark.parametrize(
    "name", ["plain", "prelu", "concat", "image_again", "spatial_attention", "contrast"]
)
def test_what_goes_in_comes_out(name, tmp_path):
    """`spatial_attention` has sizes that depend on the image's."""
    before = quantized_once(name)
    path = tmp_path / "net.int8.safetensors"
    store.save(before, path)
    after = store.read(path)
    assert np.array_equal(integer.run(before, IMAGE), integer.run(after, IMAGE))
    x = torch.rand(1, 3, 24, 40)
    with torch.no_grad():  # means depend on where in memory a tensor lies, by a last bit
        torch.testing.assert_close(before.graph(x), after.graph(x), rtol=0, atol=1e-6)
        torch.testing.assert_close(before.network.module(x), after.network.module(x))
    assert before.activations == after.activations
    assert before.calibration == after.calibration
    kinds = [(n.name, n.target) for n in before.graph.graph.nodes if n.op == "call_function"]
    assert kinds == [(n.name, n.target) for n in after.graph.graph.nodes if n.op == "call_function"]


def test_names_of_layers_rewrites_and_proof_survive(tmp_path):
    network = load("random:plain-s-x2")
    lowered, plain, certificate = prepare(network)
    before = quantize(lowered, plain, [photo(64, 64)])
    before = replace(before, certificate=certificate.to_dict())
    store.save(before, tmp_path / "a.int8.safetensors")
    after = store.read(tmp_path / "a.int8.safetensors")
    layers = [layer_of(node) for node in tensor_nodes(before.graph)]
    assert layers == [layer_of(node) for node in tensor_nodes(after.graph)]
    assert "body.0" in layers
    assert after.graph.meta["rewrites"] == before.graph.meta["rewrites"] != []
    assert after.certificate["exact"] is True
    assert after.network.paper == network.paper and after.network.name == network.name


def test_mark_of_a_requantizing_convolution_survives(tmp_path):
    from edgesr.quantize.ties import REQUANTIZES

    store.save(quantized_once("image_again"), tmp_path / "a.int8.safetensors")
    after = store.read(tmp_path / "a.int8.safetensors")
    assert any(node.meta.get(REQUANTIZES) for node in after.graph.graph.nodes)


def test_equal_constants_are_stored_once(tmp_path):
    network = make("plain")
    graph = lower(trace(network), INT8_FORMS)
    kept = quantize(graph, network, [photo(96, 96)], recipe=Recipe(equalize=False))
    store.save(kept, tmp_path / "a.int8.safetensors")
    header, _ = header_of((tmp_path / "a.int8.safetensors").read_bytes())
    nodes = json.loads(header["__metadata__"]["original"])["nodes"]
    keys = [node["tensor"] for node in nodes if node["op"] == "get_attr"]
    assert any(key.startswith("graph/") for key in keys), "lowering left some weights as they were"


def test_a_model_is_recognised_by_suffix_or_content(plain, tmp_path):
    other = tmp_path / "renamed.safetensors"
    other.write_bytes(plain.read_bytes())
    assert store.is_quantized(plain) and store.is_quantized(other)
    assert not store.is_quantized(tmp_path / "missing.safetensors")
    assert isinstance(store.load_model(other), type(quantized_once("plain")))
    assert store.load_model("random:plain-s-x2").name == "plain-s-x2-random"
    with pytest.raises(UsageError, match="x2, not x3"):
        store.load_model(plain, scale=3)
    with pytest.raises(UsageError, match="architecture"):
        store.load_model(plain, architecture="plain-m")


def test_a_checkpoint_is_not_taken_for_one(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(3)}, path)
    assert not store.is_quantized(path)
    with pytest.raises(BadFileError, match="quantize ptq"):
        store.read(path)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_files(plain, tmp_path, share):
    content = plain.read_bytes()
    path = tmp_path / "cut.int8.safetensors"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadFileError):
        store.read(path)


def node_of(graph, kind):
    return next(node for node in graph["nodes"] if node.get("target", "") == kind)


def calls(target):
    def change(graph):
        node_of(graph, "aten.conv2d.default")["target"] = target

    return change


def reads(name):
    def change(graph):
        node_of(graph, "aten.relu.default")["args"] = [{"node": name}]

    return change


def renamed(name):
    def change(graph):
        node_of(graph, "aten.relu.default")["name"] = name

    return change


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("format", "edgesr-quantized-9", "edgesr-quantized-9"),
        ("graph", calls("aten.from_file.default"), "from_file"),
        ("graph", calls("os.system"), "os.system"),
        ("graph", calls("aten.relu_.default"), "relu_"),
        ("graph", reads("nobody"), "nobody"),
        ("graph", reads("output"), "output"),
        ("graph", renamed("x"), "no name"),
        ("graph", renamed("a; import os"), "no name"),
        ("graph", renamed("lambda"), "no name"),
        ("graph", lambda g: g["nodes"].pop(), "output"),
        ("graph", lambda g: g["nodes"].insert(1, {"name": "y", "op": "placeholder"}), "2 inputs"),
        ("graph", lambda g: g.update(channels=7), "channels"),
        ("graph", "[]", "no object"),
        ("graph", "[" * 100_000, "damaged"),
        ("graph", "{", "damaged"),
        ("graph", lambda g: node_of(g, "aten.conv2d.default")["args"].pop(1), "does not run"),
        ("graph", lambda g: g["nodes"][-1].update(args=[{"node": "x"}]), "maps"),
        ("network", lambda n: n.update(scale=0), "scale"),
        ("network", lambda n: n.update(name="../../etc/passwd"), "name"),
        ("network", lambda n: n.pop("colour"), "facts"),
        ("activations", lambda a: a.update(ghost=[1.0, 0, 8]), "ghost"),
        ("activations", lambda a: a.update(x=[-1.0, 0, 8]), "scale"),
        ("activations", lambda a: a.update(x=[0.1, 0, 8]), "scale"),
        ("activations", lambda a: a.update(x=[1.0, 400, 8]), "zero point"),
        ("activations", lambda a: a.update(x=[1.0, 3, 16]), "zero point"),
        ("activations", lambda a: a.pop("x"), "no scale"),
        ("calibration", "[]", "calibration"),
    ],
)
def test_hostile_or_damaged_metadata(plain, tmp_path, key, change, words):
    path = with_metadata(plain, tmp_path / "bad.int8.safetensors", change, key)
    with pytest.raises(BadFileError, match=words):
        store.read(path)


def spoiled(plain, target, **changed):
    """The file with tensors replaced, left out where None."""
    with safetensors.safe_open(plain, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, value in changed.items():
        tensors[name] = value
    tensors = {name: value for name, value in tensors.items() if value is not None}
    safetensors.torch.save_file(tensors, target, metadata)
    return target


def test_numbers_that_make_no_sense(plain, tmp_path):
    name = next(iter(quantized_once("plain").weights))
    path = tmp_path / "bad.int8.safetensors"
    cases = [
        ({f"weight/{name}": torch.zeros(1, dtype=torch.int8)}, "do not fit"),
        ({f"bias/{name}": None}, "lacks"),
        ({f"weight_scale/{name}": torch.full((16,), torch.nan)}, "NaN"),
        ({"weight/ghost": torch.zeros(1, dtype=torch.int8)}, "ghost"),
        ({"bias/" + name: torch.zeros(16)}, "do not fit"),
    ]
    for changed, words in cases:
        with pytest.raises(BadFileError, match=words):
            store.read(spoiled(plain, path, **changed))
    with pytest.raises(CheckpointError):
        store.read(spoiled(plain, path, **cases[0][0]))


def test_an_operator_that_cannot_be_stored_is_named(tmp_path):
    quantized = quantized_once("plain")
    graph = torch.fx.symbolic_trace(torch.nn.ReLU())
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            node.meta["val"] = torch.empty(1, 3, 8, 8)
        if node.op == "call_function":
            node.target = torch.ops.aten.fft_fft2.default
    with pytest.raises(UnsupportedError, match="fft"):
        store.save(replace(quantized, graph=graph), tmp_path / "a.int8.safetensors")
    assert not list(tmp_path.iterdir())


def test_mixed_and_wide_graphs_survive(tmp_path):
    """What has no scales stays float; 16-bit scales keep their bits."""
    before = quantized_once("plain")
    first, second = list(before.weights)[:2]
    activations = {
        name: replace(params, zero_point=0, bits=16)
        for name, params in before.activations.items()
        if name not in (first, "relu")
    }
    weights = {k: v for k, v in before.weights.items() if k not in (first, second)}
    path = tmp_path / "m.int8.safetensors"
    store.save(replace(before, weights=weights, activations=activations), path)
    after = store.read(path)
    assert set(after.weights) == set(weights) and after.activations == activations


@pytest.mark.parametrize("name", store.shipped_names())
def test_shipped_integers_are_of_the_shipped_network(name):
    quantized = store.load_model(name)
    network = load(name.removesuffix(store.SHIPPED))
    assert (quantized.network.name, quantized.network.scale) == (network.name, network.scale)
    assert quantized.network.licence == "Apache-2.0"
    image = photo(32, 40)[..., : 1 if network.colour == "y" else 3]
    gap = integer.run(quantized, image).astype(int) - NetworkSession(network).run(image)
    assert np.sqrt(np.mean(gap**2)) < 2.5


def test_integers_that_are_not_shipped_are_named():
    assert "ecbsr-m4c16-x2.int8" in store.shipped_names()
    with pytest.raises(UsageError, match=r"no integers are shipped as `rfdn-x4\.int8`"):
        store.load_model("rfdn-x4.int8")

"""Float ONNX: the same function as the network, at any size, in a file that passes the checker."""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
import torch
from edgesr.export import onnx
from edgesr.export.lower import lower
from edgesr.export.onnx.float import to_half
from torch import nn
from torch.nn import functional as F

from edgesr import models
from edgesr.collapse import collapse
from edgesr.errors import UnsupportedError, UsageError
from edgesr.graph import trace
from edgesr.network import Network
from edgesr.targets import find_target

FORMS = find_target("onnx").float_forms


class Attention(nn.Module):
    """What attention networks are made of: pooling, a resize to the size of another map, gates."""

    def __init__(self):
        super().__init__()
        self.head, self.narrow, self.gate = (nn.Conv2d(a, b, 3, padding=1) for a, b in _WIDTHS)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        y = F.leaky_relu(self.head(x), 0.05)
        low = self.narrow(F.max_pool2d(y, 5, 3))
        low = F.interpolate(low, (y.size(2), y.size(3)), mode="bilinear", align_corners=False)
        y = y * torch.sigmoid(self.gate(low)) + y * y.mean((2, 3), keepdim=True)
        return F.pixel_shuffle(self.tail(y), 2).clamp(0.0, 1.0)


_WIDTHS = ((3, 8), (8, 4), (4, 8))


@functools.cache
def deployed(name):
    torch.manual_seed(0)
    if name == "attention":
        network = Network(Attention().eval(), name, 2)
        return network, lower(trace(network), FORMS)
    network, _ = collapse(models.create(name), allow_border=True)
    return network, lower(network.module, FORMS)


@functools.cache
def built(name):
    network, graph = deployed(name)
    return onnx.build(graph, network, None)


def run(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize("name", ["plain-s-x3", "fsrcnn-x2", "espcn-x3", "attention"])
def test_any_size_gives_the_networks_output(name):
    network, _ = deployed(name)
    model = built(name)
    for height, width in ((40, 56), (33, 21)):
        x = torch.rand(1, network.channels, height, width) * network.value_range
        with torch.inference_mode():
            expected = network.module(x).numpy()
        found = run(model, x)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5 * network.value_range


def test_a_plain_network_is_convolutions_and_four_other_operators(tmp_path):
    network, graph = deployed("plain-s-x3")
    path = tmp_path / "plain.onnx"
    written = onnx.write(graph, network, path, None)
    model = onnx_package.load(path)
    onnx_package.checker.check_model(model, full_check=True)
    assert written.operators == dict(Counter(n.op_type for n in model.graph.node))
    others = {k: v for k, v in written.operators.items() if k not in ("Conv", "Relu")}
    assert others == {"Add": 1, "Clip": 1, "DepthToSpace": 1}
    (opset,) = (o.version for o in model.opset_import if o.domain == "")
    assert opset == onnx.OPSET
    assert [i.name for i in model.graph.input] == ["x"]
    assert [o.name for o in model.graph.output] == ["y"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value or d.dim_param for d in dims] == [1, 3, "height", "width"]


def test_a_fixed_size_is_written_into_the_file():
    network, graph = deployed("plain-s-x3")
    model = onnx.build(graph, network, (24, 40))
    for value, sides in ((model.graph.input[0], (24, 40)), (model.graph.output[0], (72, 120))):
        dims = value.type.tensor_type.shape.dim
        assert tuple(d.dim_value for d in dims) == (1, 3, *sides)


def test_half_precision_keeps_float32_at_both_ends():
    network, _ = deployed("attention")
    model = to_half(built("attention"))
    onnx_package.checker.check_model(model, full_check=True)
    kinds = {t.data_type for t in model.graph.initializer if t.name not in _resize_factors(model)}
    assert onnx_package.TensorProto.FLOAT not in kinds
    x = torch.rand(1, 3, 24, 40)
    with torch.inference_mode():
        expected = network.module(x).numpy()
    found = run(model, x)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 2e-2
    stored = sum(len(t.raw_data) for t in model.graph.initializer)
    assert stored < 0.6 * sum(len(t.raw_data) for t in built("attention").graph.initializer)


def _resize_factors(model):
    return {name for n in model.graph.node if n.op_type == "Resize" for name in n.input[1:]}


def test_lowered_depth_to_space_has_a_float_form():
    """A graph lowered for int8 can be written as float too, for a look at what quantizing costs."""
    torch.manual_seed(0)
    network = models.create("plain-s-x2")
    graph = lower(trace(network), find_target("onnx").int8_forms)
    x = torch.rand(1, 3, 12, 20)
    with torch.inference_mode():
        expected = network.module(x).numpy()
    assert np.abs(run(onnx.build(graph, network, None), x) - expected).max() < 1e-5


def test_what_onnx_cannot_say_is_one_sentence():
    class Strange(nn.Module):
        def forward(self, x):
            return F.relu(torch.ops.aten.special_bessel_j0(x))

    network = Network(Strange(), "bessel", 1)
    with pytest.raises(UnsupportedError, match="`bessel` has no ONNX form"):
        onnx.build(trace(network), network, None)


def test_a_float_graph_is_not_written_as_int8():
    network = models.create("plain-s-x2")
    with pytest.raises(UsageError, match="int8"):
        onnx.build(trace(network), network, None, precision="int8")

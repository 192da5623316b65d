"""PReLU with slopes above 1: the signs that make it a maximum go into the convolutions around."""

from __future__ import annotations

import pytest
import torch
from edgesr.export.lower import lower
from edgesr.quantize.forms import spell
from small_networks import C, Frame, Residual, body, conv, prelu, randomize
from torch import nn
from torch.nn import functional as F

from edgesr.graph import aten, is_call, trace
from edgesr.network import Network
from edgesr.targets import INT8_FORMS


class TwoReaders(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = prelu(-2.0, 2.0)
        self.a, self.b = conv(C, C), conv(C, C, 1, groups=4)

    def forward(self, x):
        features = self.act(x)
        return self.a(features) + self.b(features)


class ReadBefore(nn.Module):
    """Another reader of what PReLU reads: its convolution keeps its signs."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.next = conv(C, C), prelu(0.5, 1.5), conv(C, C)

    def forward(self, x):
        features = self.conv(x)
        return self.next(self.act(features)) + F.relu(features)


BODIES = {
    "between": lambda: body(conv(C, C), prelu(-0.5, 1.5), conv(C, C), prelu(-2.0, 2.0), conv(C, C)),
    "no_bias": lambda: body(conv(C, C, bias=False), prelu(0.5, 1.5), conv(C, C)),
    "grouped": lambda: body(conv(C, C, groups=4), prelu(0.5, 1.5), conv(C, C, groups=2)),
    "depthwise": lambda: body(conv(C, C, groups=C), prelu(1.1, 1.5), conv(C, C, groups=C)),
    "two_readers": lambda: body(conv(C, C), TwoReaders()),
    "read_before": lambda: body(ReadBefore()),
    "skip_behind": lambda: body(Residual(conv(C, C), prelu(0.5, 1.5)), conv(C, C)),
    "twice": lambda: body(conv(C, C), prelu(0.5, 1.5), prelu(0.5, 1.5), conv(C, C)),
}
DEPTHWISE = {  # PReLU's own; beyond, signs that no convolution takes
    "between": 2, "no_bias": 1, "grouped": 1, "depthwise": 1, "two_readers": 1,
    "read_before": 1 + 1, "skip_behind": 1 + 1, "twice": 2 + 1,
}  # fmt: skip


def graph_of(module: Frame):
    randomize(module)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.bias, 0.0, 0.3)
    return lower(trace(Network(module.eval(), "steep", 2)), INT8_FORMS)


@pytest.mark.parametrize("name", BODIES)
def test_the_spelling_is_the_network(name):
    torch.manual_seed(0)
    graph = graph_of(BODIES[name]())
    spelled = spell(graph)
    calls = [node for node in spelled.graph.nodes if node.op == "call_function"]
    assert not [node for node in calls if is_call(node, aten.prelu.default)]
    before = sum(is_call(node, aten.conv2d.default) for node in graph.graph.nodes)
    after = sum(is_call(node, aten.conv2d.default) for node in calls)
    of_frame = 1  # its factor on the tail
    assert after - before == DEPTHWISE[name] + of_frame
    x = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(spelled(x), graph(x), rtol=0, atol=1e-6)


def test_the_given_graph_keeps_its_weights():
    graph = graph_of(BODIES["between"]())
    x = torch.rand(1, 3, 9, 12)
    with torch.inference_mode():
        before = graph(x)
        spell(graph)
        assert torch.equal(graph(x), before)

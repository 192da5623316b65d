"""What must not become one convolution: it would cost more, or the border would change."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_blocks import Frame, RepVGG, conv_bn, convs, network, worst

from edgesr.collapse import collapse
from edgesr.errors import InexactError
from edgesr.graph import is_call

aten = torch.ops.aten
C, OUT = 4, 6
torch.set_num_threads(1)


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise = conv_bn(3, 1, C, C)
        self.pointwise = nn.Conv2d(C, 8 * C, 1)
        self.second = nn.Conv2d(8 * C, C, 1)

    def forward(self, x):
        return self.second(self.pointwise(self.depthwise(x)))


def test_cheap_pairs_stay_pairs():
    """Depthwise and pointwise as one would cost more; two pointwise ones would not."""
    plain, certificate = collapse(network(Frame(Separable())))
    _, depthwise, pointwise = convs(plain.module)
    assert depthwise.args[6] == C
    assert pointwise.meta["nn_module_stack"]
    assert certificate.exact


class Anchor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 27, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.body(F.relu(x)) + torch.cat([x] * 9, 1), 3)


def test_an_anchor_of_copies_stays_free():
    plain, certificate = collapse(network(Anchor()))
    assert certificate.macs_after == certificate.macs_before
    assert any(is_call(n, aten.cat.default) for n in plain.module.graph.nodes)


class ZeroPadded(nn.Module):
    """1x1 with bias, then a zero-padded 3x3: as one, the border differs."""

    def __init__(self):
        super().__init__()
        self.point = nn.Conv2d(C, 16, 1)
        self.square = nn.Conv2d(16, OUT, 3, padding=1)
        self.direct = nn.Conv2d(C, OUT, 3, padding=1)

    def forward(self, x):
        return self.square(self.point(x)) + self.direct(x)


def test_an_inexact_border_is_kept_and_measured():
    source = network(Frame(ZeroPadded()))
    plain, certificate = collapse(source)
    assert certificate.exact and len(convs(plain.module)) == 4
    (kept,) = certificate.kept
    assert (kept.place, kept.inner) == ("block.square", "block.point")
    assert kept.border > 0.01
    assert "--allow-border" in certificate.summary()[1]


def test_allow_border_folds_it_and_says_by_how_much():
    source = network(Frame(ZeroPadded()))
    plain, certificate = collapse(source, allow_border=True)
    assert len(convs(plain.module)) == 2 and not certificate.kept
    assert certificate.interior <= 1e-9 < 1e-3 < certificate.border
    assert not certificate.exact and certificate.to_dict()["exact"] is False
    assert worst(source.module, plain.module, margin=certificate.band) < 2e-6
    assert worst(source.module, plain.module) == pytest.approx(certificate.border, rel=0.9)


def test_strict_refuses_and_names_the_place():
    with pytest.raises(InexactError, match=r"block\.square.*--allow-border"):
        collapse(network(Frame(ZeroPadded())), strict=True)


def test_a_broken_rule_does_not_get_a_certificate(monkeypatch):
    """The certificate is a check of its own: what a rule gets wrong is refused, not shipped."""
    monkeypatch.setattr("edgesr.collapse.algebra.scale", lambda inner, factors: inner)
    monkeypatch.setattr("edgesr.collapse.rules.batch_norm.scale", lambda inner, factors: inner)
    with pytest.raises(InexactError, match="fault of a rule"):
        collapse(network(Frame(RepVGG())))

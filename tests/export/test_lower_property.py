"""Whatever stands around a pixel shuffle, every form of it computes the same image."""

from __future__ import annotations

from copy import deepcopy

import torch
from edgesr.export.lower import lower
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lowering_sketch import Sketch, count, image, relative_difference

from edgesr.graph import aten
from edgesr.targets import Forms

forms = st.builds(
    Forms,
    anchor=st.sampled_from(["concat", "conv", "resize"]),
    clip=st.sampled_from(["minmax", "relu_0_to_1", "saturate"]),
    shuffle=st.sampled_from(["depth_to_space", "crd"]),
    prelu=st.sampled_from(["prelu", "two_relus"]),
)
STEPS = ("relu", "clamp", "prelu", "scale", "shift", "swish", "residual", "leaky", "mask")


@st.composite
def tails(draw):
    """Convolution, pointwise steps, shuffle, steps, maybe a nearest skip, steps."""
    colours, block = draw(st.sampled_from([1, 2, 3])), draw(st.integers(2, 3))
    s = Sketch(colours, seed=draw(st.integers(0, 99)))
    width = colours * block**2
    y = s.conv(s.x, colours, width)
    for step in draw(st.lists(st.sampled_from(STEPS), max_size=3)):
        y = apply(s, step, y, width)
    if draw(st.booleans()):
        copies = [s(aten.slice.Tensor, s.x, 1, c, c + 1, 1) for c in range(colours)]
        anchor = s(aten.cat.default, [p for p in copies for _ in range(block**2)], 1)
        y = s(aten.add.Tensor, y, anchor)
    y = s(aten.pixel_shuffle.default, y, block)
    for step in draw(st.lists(st.sampled_from(STEPS), max_size=2)):
        y = apply(s, step, y, colours)
    if draw(st.booleans()):
        nearest = s(aten.upsample_nearest2d.vec, s.x, None, [float(block)] * 2)
        y = s(aten.add.Tensor, nearest, y)
    if draw(st.booleans()):
        y = s(aten.clamp.default, y, 0.0, 1.0)
    return s.done(y), colours


def apply(s, step, y, width):
    if step == "relu":
        return s(aten.relu.default, y)
    if step == "clamp":
        return s(aten.clamp.default, y, -0.5, 0.8)
    if step == "leaky":
        return s(aten.leaky_relu.default, y, 0.1)
    if step == "prelu":
        return s(aten.prelu.default, y, s.const(s.noise(width)))
    if step == "scale":
        return s(aten.mul.Tensor, y, s.const(s.noise(1, width, 1, 1)))
    if step == "shift":
        return s(aten.sub.Tensor, y, 0.3)
    if step == "swish":
        return s(aten.mul.Tensor, y, s(aten.sigmoid.default, y))
    if step == "mask":
        mean = s(aten.mean.dim, y, [2, 3], True)
        return s(aten.mul.Tensor, y, s(aten.sigmoid.default, mean))
    return s(aten.add.Tensor, y, s.conv(y, width, width))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tails(), forms, st.integers(1, 9), st.integers(1, 9))
def test_every_form_computes_the_same_image(tail, forms, height, width):
    graph, colours = tail
    torch.set_num_threads(1)
    x = (image(colours, height, width) - 0.3).double()
    lowered = lower(graph, forms)
    # In double precision, so that only what lowering did to the weights can differ.
    assert relative_difference(lowered.double()(x), deepcopy(graph).double()(x)) <= 1e-6
    if forms.shuffle == "depth_to_space":
        assert count(lowered, aten.pixel_shuffle.default) == 0

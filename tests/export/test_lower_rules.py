"""Each rewrite: it does what its docstring says, changes nothing, and leaves alone what it must."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from edgesr.export.lower import lower, rewrites_of
from edgesr.export.lower.ops import depth_to_space, space_to_depth
from edgesr.export.lower.transposed import phase_kernels
from lowering_sketch import TFLITE_FLOAT, Sketch, count, image, relative_difference
from torch.nn import functional as F

from edgesr.errors import UsageError
from edgesr.graph import aten, output_of
from edgesr.targets import INT8_FORMS, find_target, target_names

CRD = replace(TFLITE_FLOAT, shuffle="crd", clip="saturate")


def check(graph, forms=TFLITE_FLOAT, channels=3, size=(7, 11)):
    """Lower, compare at an odd size, return the lowered graph."""
    x = image(channels, *size)
    before = graph(x)
    lowered = lower(graph, forms)
    assert relative_difference(lowered(x), before) <= 1e-6
    assert torch.equal(graph(x), before), "the given graph was changed"
    return lowered


# --- custom operators -----------------------------------------------------------------------


def test_depth_to_space_reads_block_row_block_column_colour():
    x = torch.arange(2 * 2 * 3 * 1 * 2).reshape(1, 12, 1, 2)
    y = depth_to_space(x, 2)
    assert y.shape == (1, 3, 2, 4)
    for row in range(2):
        for column in range(2):
            for colour in range(3):
                for w in range(2):
                    expected = x[0, (row * 2 + column) * 3 + colour, 0, w]
                    assert y[0, colour, row, 2 * w + column] == expected


def test_space_to_depth_is_the_inverse_and_gradients_flow():
    x = torch.randn(1, 12, 5, 7, requires_grad=True)
    y = space_to_depth(depth_to_space(x, 2), 2)
    assert torch.equal(x, y)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


# --- pad, transposed ------------------------------------------------------------------------


def padded_conv(sides, value=0.0):
    s = Sketch()
    padded = s(aten.pad.default, s.x, sides, "constant", value)
    return s.done(s.conv(padded, 3, 4, padding=[0, 0]))


def test_even_zero_pads_become_the_padding_of_the_convolution():
    assert count(check(padded_conv([2, 2, 1, 1])), aten.pad.default) == 0


@pytest.mark.parametrize(("sides", "value"), [([1, 2, 1, 2], 0.0), ([1, 1, 1, 1], 0.5)])
def test_other_pads_stay(sides, value):
    assert count(check(padded_conv(sides, value)), aten.pad.default) == 1


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"),
    [(9, 2, 4, 1), (9, 3, 4, 2), (9, 4, 4, 3), (4, 2, 1, 0), (3, 2, 1, 1), (2, 2, 0, 0),
     (5, 1, 2, 0), (3, 3, 0, 0), (8, 4, 2, 0)],
)  # fmt: skip
def test_transposed_convolution_is_convolution_and_shuffle(kernel, stride, padding, extra):
    s = Sketch(5)
    weight, bias = s.const(s.noise(5, 2, kernel, kernel)), s.const(s.noise(2))
    args = ([stride] * 2, [padding] * 2, [extra] * 2, 1, [1, 1])
    graph = s.done(s(aten.conv_transpose2d.input, s.x, weight, bias, *args))
    lowered = check(graph, channels=5)
    assert count(lowered, aten.conv_transpose2d.input) == 0
    assert count(lowered, aten.conv2d.default) == 1
    assert count(lowered, depth_to_space) == (stride > 1)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "taps"),
    [(9, 2, 4, 5), (9, 3, 4, 4), (9, 4, 4, 3), (2, 2, 0, 1), (4, 4, 0, 1), (4, 2, 1, 3)],
)
def test_the_kernels_of_the_phases_have_no_idle_margin(kernel, stride, padding, taps):
    weight = torch.ones(2, 3, kernel, kernel)
    phases, rows, columns = phase_kernels(weight, stride, [padding, padding])
    assert phases.shape == (3 * stride**2, 2, taps, taps)
    assert sum(rows) == sum(columns) == taps - 1
    assert float(phases.sum()) == float(weight.sum())  # every weight once


def test_a_transposed_convolution_of_another_size_stays():
    s = Sketch(2)
    weight = s.const(s.noise(2, 2, 3, 3))
    args = ([2, 2], [0, 0], [0, 0], 1, [1, 1])
    graph = s.done(s(aten.conv_transpose2d.input, s.x, weight, None, *args))
    assert count(check(graph, channels=2), aten.conv_transpose2d.input) == 1


# --- anchor, hoist --------------------------------------------------------------------------


def skip_at_high_resolution(s, *, swapped=False, block=3):
    shuffled = s(aten.pixel_shuffle.default, s.conv(s.x, 3, 3 * block**2), block)
    resized = s(aten.upsample_nearest2d.vec, s.x, None, [float(block)] * 2)
    pair = (resized, shuffled) if swapped else (shuffled, resized)
    return s(aten.add.Tensor, *pair), shuffled


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("anchor", ["concat", "conv"])
def test_nearest_skip_moves_before_the_shuffle(swapped, anchor):
    s = Sketch()
    y, _ = skip_at_high_resolution(s, swapped=swapped)
    graph = s.done(s(aten.clamp.default, y, 0.0, 1.0))
    lowered = check(graph, replace(TFLITE_FLOAT, anchor=anchor))
    assert count(lowered, aten.upsample_nearest2d.vec) == 0
    assert count(lowered, aten.conv2d.default) == (1 if anchor == "concat" else 2)
    assert count(lowered, aten.cat.default) == (anchor == "concat")
    assert output_of(lowered).target is depth_to_space


def test_the_skip_stays_where_the_shuffle_has_another_reader():
    s = Sketch()
    y, shuffled = skip_at_high_resolution(s)
    lowered = check(s.done(s(aten.mul.Tensor, y, shuffled)))
    assert count(lowered, aten.upsample_nearest2d.vec) == 1


def test_pointwise_work_moves_before_the_shuffle():
    s = Sketch()
    y = s(aten.pixel_shuffle.default, s.conv(s.x, 3, 12), 2)
    y = s(aten.add.Tensor, y, s.const(s.noise(1, 3, 1, 1)))
    y = s(aten.mul.Tensor, y, 0.5)
    y = s(aten.prelu.default, y, s.const(torch.tensor([0.1, 0.2, 0.3])))
    y = s(aten.add.Tensor, y, s(aten.pixel_shuffle.default, s.conv(s.x, 3, 12), 2))
    lowered = check(s.done(s(aten.tanh.default, y)))
    assert output_of(lowered).target is depth_to_space
    assert count(lowered, depth_to_space) == 1 and count(lowered, aten.conv2d.default) == 2


def test_what_another_reader_needs_shuffled_is_shuffled_once():
    s = Sketch()
    y = s(aten.pixel_shuffle.default, s.conv(s.x, 3, 12), 2)
    lowered = check(s.done(s(aten.mul.Tensor, s(aten.tanh.default, y), s.conv(y, 3, 3))))
    assert count(lowered, depth_to_space) == 1


def test_a_constant_that_varies_over_space_stays_behind_the_shuffle():
    s = Sketch()
    y = s(aten.pixel_shuffle.default, s.conv(s.x, 3, 12), 2)
    graph = s.done(s(aten.add.Tensor, y, s.const(s.noise(1, 3, 192, 240))))
    lowered = check(graph, size=(96, 120))
    assert output_of(lowered).target is aten.add.Tensor


# --- merge, twins, prelu, clip --------------------------------------------------------------


def test_clips_in_a_row_are_one():
    s = Sketch()
    y = s(aten.relu.default, s(aten.relu.default, s.conv(s.x, 3, 3)))
    y = s(aten.clamp.default, s(aten.clamp.default, y, -1.0, 0.8), -0.5, 2.0)
    lowered = check(s.done(y), INT8_FORMS)
    clips = [n for n in lowered.graph.nodes if n.target is aten.clamp.default]
    assert [n.args[1:] for n in clips] == [(0.0, 0.8)]
    assert count(lowered, aten.relu.default) == 0


def test_disjoint_clips_stay_two():
    s = Sketch()
    y = s(aten.clamp.default, s.conv(s.x, 3, 3), None, 0.2)
    lowered = check(s.done(s(aten.clamp.default, y, 0.5, None)), INT8_FORMS)
    assert count(lowered, aten.clamp.default) == 2


def test_what_is_computed_twice_is_computed_once():
    s = Sketch()
    halves = [s(aten.slice.Tensor, s.x, 1, 0, 2, 1) for _ in range(3)]
    lowered = check(s.done(s(aten.cat.default, [*halves, s.x], 1)))
    assert count(lowered, aten.slice.Tensor) == 1


def prelu_graph(slopes):
    s = Sketch()
    return s.done(s(aten.prelu.default, s.conv(s.x, 3, 3), s.const(torch.tensor(slopes))))


@pytest.mark.parametrize(
    ("slopes", "form", "left"),
    [([0.25], "prelu", aten.leaky_relu.default), ([0.5] * 3, "two_relus", aten.leaky_relu.default),
     ([0.0] * 3, "prelu", aten.relu.default), ([0.1, -0.2, 1.5], "prelu", aten.prelu.default)],
)  # fmt: skip
def test_prelu_with_one_slope_is_a_leaky_relu(slopes, form, left):
    lowered = check(prelu_graph(slopes), replace(TFLITE_FLOAT, prelu=form))
    assert output_of(lowered).target is left


def test_prelu_as_two_relus():
    lowered = check(prelu_graph([0.1, -0.2, 1.5]), replace(TFLITE_FLOAT, prelu="two_relus"))
    assert count(lowered, aten.prelu.default) == 0 and count(lowered, aten.relu.default) == 2


@pytest.mark.parametrize(
    ("bounds", "form", "expected"),
    [((0.0, 1.0), "minmax", ["relu", "clamp"]), ((0.0, 1.0), "relu_0_to_1", ["clamp"]),
     ((0.0, 1.0), "saturate", ["clamp"]), ((-0.5, 0.5), "minmax", ["clamp", "clamp"]),
     ((0.0, 6.0), "minmax", ["clamp"]), ((-1.0, 1.0), "minmax", ["clamp"]),
     ((0.0, 255.0), "relu_0_to_1", ["relu", "clamp"])],
)  # fmt: skip
def test_clip_forms(bounds, form, expected):
    s = Sketch()
    graph = s.done(s(aten.clamp.default, s.conv(s.x, 3, 3), *bounds))
    lowered = check(graph, replace(TFLITE_FLOAT, clip=form))
    clips = (aten.relu.default, aten.clamp.default)
    names = [n.target.name() for n in lowered.graph.nodes if n.target in clips]
    assert [name.removeprefix("aten::") for name in names] == expected


# --- order, unshuffle -----------------------------------------------------------------------


def test_the_order_folds_through_activations_sums_and_products():
    s = Sketch()
    y = s.conv(s.x, 3, 12)
    y = s(aten.mul.Tensor, y, s(aten.sigmoid.default, y))  # both readers lie inside
    y = s(aten.prelu.default, y, s.const(s.noise(12)))
    y = s(aten.sub.Tensor, y, s.const(s.noise(1, 12, 1, 1)))
    y = s(aten.add.Tensor, y, s.conv(s.x, 3, 12, bias=False))
    lowered = check(s.done(s(aten.pixel_shuffle.default, y, 2)))
    assert count(lowered, aten.conv2d.default) == 2
    assert any("is in" in line for line in rewrites_of(lowered))


def test_the_order_folds_into_both_sides_of_a_residual():
    s = Sketch()
    y = s.conv(s.x, 3, 12)
    y = s(aten.add.Tensor, y, s.conv(s(aten.relu.default, s.conv(y, 12, 5)), 5, 12))
    y = s(aten.add.Tensor, y, s.conv(y, 12, 12))
    lowered = check(s.done(s(aten.pixel_shuffle.default, y, 2)))
    assert count(lowered, aten.conv2d.default) == 5  # the 5-wide one reads y outside: one more


def test_the_order_does_not_follow_a_broadcast_operand():
    s = Sketch()
    y = s(aten.mul.Tensor, s.conv(s.x, 3, 12), s(aten.sigmoid.default, s.conv(s.x, 3, 1)))
    lowered = check(s.done(s(aten.pixel_shuffle.default, y, 2)))
    assert count(lowered, aten.conv2d.default) == 2


def test_another_reader_costs_one_pointwise_convolution():
    s = Sketch()
    y = s.conv(s.x, 3, 12)
    shuffled = s(aten.pixel_shuffle.default, y, 2)
    resized = s(aten.upsample_nearest2d.vec, s(aten.slice.Tensor, y, 1, 0, 3, 1), None, [2.0, 2.0])
    lowered = check(s.done(s(aten.mul.Tensor, shuffled, resized)))
    assert count(lowered, aten.conv2d.default) == 2


def test_an_operator_that_cannot_be_permuted_costs_one_pointwise_convolution():
    s = Sketch()
    y = s(aten.max_pool2d.default, s.conv(s.x, 3, 12), [3, 3], [1, 1], [1, 1])
    lowered = check(s.done(s(aten.pixel_shuffle.default, y, 2)))
    assert count(lowered, aten.conv2d.default) == 2


def test_one_colour_needs_no_order():
    s = Sketch(1)
    lowered = check(s.done(s(aten.pixel_shuffle.default, s.conv(s.x, 1, 9), 3)), channels=1)
    assert rewrites_of(lowered) == [
        "pixel_shuffle_default is depth-to-space; its channel order is already right"
    ]


def test_the_order_stays_torchs_where_the_target_wants_that():
    s = Sketch()
    graph = s.done(s(aten.pixel_shuffle.default, s.conv(s.x, 3, 12), 2))
    assert count(check(graph, CRD), aten.pixel_shuffle.default) == 1


def test_pixel_unshuffle_goes_into_the_next_convolutions():
    s = Sketch()
    y = s(aten.pixel_unshuffle.default, s.x, 2)
    both = s(aten.add.Tensor, s.conv(y, 12, 5), s.conv(y, 12, 5))
    lowered = check(s.done(both), size=(6, 10))
    assert count(lowered, space_to_depth) == 1 and count(lowered, aten.conv2d.default) == 2


def test_pixel_unshuffle_read_by_something_else_costs_one_pointwise_convolution():
    s = Sketch()
    lowered = check(
        s.done(s(aten.relu.default, s(aten.pixel_unshuffle.default, s.x, 2))), size=(6, 10)
    )
    assert count(lowered, space_to_depth) == 1 and count(lowered, aten.conv2d.default) == 1


# --- spell ----------------------------------------------------------------------------------


def anchored(s, kind, block=2):
    """The same skip as strangers write it."""
    x, area = s.x, block * block
    if kind == "one-hot convolution":
        weight = s.const(torch.eye(3).repeat_interleave(area, 0)[:, :, None, None])
        anchor = s(aten.conv2d.default, x, weight, None, [1, 1], [0, 0], [1, 1], 1)
    else:
        slices = [s(aten.slice.Tensor, x, 1, c, c + 1, 1) for c in range(3)]
        anchor = s(aten.cat.default, [p for p in slices for _ in range(area)], 1)
    y = s(aten.add.Tensor, s.conv(x, 3, 3 * area), anchor)
    y = s(aten.pixel_shuffle.default, y, block)
    return s.done(s(aten.clamp.default, y, 0.0, 1.0))


@pytest.mark.parametrize("kind", ["one-hot convolution", "slices"])
@pytest.mark.parametrize("shuffle", ["depth_to_space", "crd"])
@pytest.mark.parametrize("form", ["concat", "conv", "resize"])
def test_anchor_forms(kind, shuffle, form):
    forms = replace(TFLITE_FLOAT, anchor=form, shuffle=shuffle)
    lowered = check(anchored(Sketch(), kind), forms)
    assert count(lowered, aten.cat.default) == (form == "concat")
    assert count(lowered, aten.conv2d.default) == (2 if form == "conv" else 1)
    assert count(lowered, aten.upsample_nearest2d.vec) == (form == "resize")
    slices = 3 if (form, shuffle) == ("concat", "crd") else 0
    assert count(lowered, aten.slice.Tensor) == slices


def test_a_copy_of_something_else_is_no_anchor():
    """Uneven copies, or copies of two tensors, keep their spelling."""
    s = Sketch()
    y = s(aten.cat.default, [s.x, s.conv(s.x, 3, 3), s.x], 1)
    lowered = check(s.done(y), replace(TFLITE_FLOAT, anchor="conv"))
    assert count(lowered, aten.cat.default) == 1 and count(lowered, aten.conv2d.default) == 1


# --- lower, targets -------------------------------------------------------------------------


def test_constants_are_shared_not_copied_and_rewrites_are_told():
    s = Sketch()
    graph = s.done(s.conv(s.x, 3, 4))
    lowered = lower(graph, TFLITE_FLOAT)
    (before,), (after,) = (
        [b.data_ptr() for _, b in g.named_buffers() if b.dim() == 4] for g in (graph, lowered)
    )
    assert before == after and rewrites_of(lowered) == []


def test_every_target_has_forms_for_its_precisions():
    assert set(target_names()) >= {"tflite", "onnx", "openvino", "ncnn"}
    for name in target_names():
        target = find_target(name)
        assert target.name == name
        assert all(target.forms(precision) for precision in target.precisions)
        if "int8" in target.precisions:
            assert target.forms("int8") == INT8_FORMS
        else:
            assert target.why_float


def test_an_unknown_target_lists_those_there_are():
    with pytest.raises(UsageError, match=r"`coreml`; there are .*tflite"):
        find_target("coreml")
    with pytest.raises(UsageError, match="not written in `int4`"):
        find_target("tflite").forms("int4")


def test_lowering_keeps_torchs_own_pixel_shuffle():
    """The formula of `depth_order`, against torch."""
    x = image(27, 4, 5)
    order = [c * 9 + k for k in range(9) for c in range(3)]
    assert torch.equal(depth_to_space(x[:, order], 3), F.pixel_shuffle(x, 3))

"""Every operator in the TFLite table against torch, at sizes where padding and strides differ."""

from __future__ import annotations

import pytest
import torch
from edgesr.export.lower import lower
from edgesr.export.tflite import fully_delegated, operator_list, write
from lowering_sketch import (
    TFLITE_FLOAT,
    Sketch,
    image,
    network,
    relative_difference,
    run_nchw,
)  # fmt: skip

from edgesr.errors import UnsupportedError
from edgesr.graph import aten

SIZES = [(9, 14), (12, 11)]


def check(tmp_path, graph, *, channels=3, sizes=SIZES, tolerance=1e-5):
    """Write, run, compare; returns the operators of the last size."""
    path = tmp_path / "one.tflite"
    for height, width in sizes:
        x = image(channels, height, width) * 2 - 1
        write(graph, network(graph, channels), path, height, width)
        assert relative_difference(run_nchw(path, x), graph(x)) <= tolerance, (height, width)
    return operator_list(path)


def sketch(build, channels=3):
    s = Sketch(channels)
    return s.done(build(s, s.x))


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, (1, 5), (4, 3)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 2), (0, 2)])
def test_convolution(tmp_path, kernel, stride, padding):
    graph = sketch(lambda s, x: s.conv(x, 3, 4, kernel, stride=stride, padding=padding))
    assert check(tmp_path, graph)[-1] == "CONV_2D"


def test_convolutions_that_keep_the_size_need_no_pad(tmp_path):
    for kernel, dilation, padding in ((3, 1, 1), (5, 1, 2), (3, 2, 2), (1, 1, 0)):
        graph = sketch(
            lambda s, x, k=kernel, d=dilation, p=padding: s.conv(
                x, 3, 4, k, padding=(p, p), dilation=d
            )
        )
        assert check(tmp_path, graph) == ["CONV_2D"]


@pytest.mark.parametrize(
    ("outputs", "groups", "names"),
    [(6, 6, ["DEPTHWISE_CONV_2D"]), (12, 6, ["DEPTHWISE_CONV_2D"]), (12, 2, ["CONV_2D"])],
)
def test_grouped_convolution(tmp_path, outputs, groups, names):
    graph = sketch(lambda s, x: s.conv(x, 6, outputs, groups=groups), channels=6)
    assert check(tmp_path, graph, channels=6) == names
    assert fully_delegated(tmp_path / "one.tflite")


def test_an_uneven_pad_becomes_padding_same(tmp_path):
    def build(s, x):
        padded = s(aten.pad.default, x, [1, 2, 1, 2], "constant", 0.0)
        return s.conv(padded, 3, 4, 4, padding=(0, 0))

    assert check(tmp_path, sketch(build)) == ["CONV_2D"]


def test_a_pad_with_two_readers_is_written_once(tmp_path):
    def build(s, x):
        padded = s(aten.pad.default, x, [2, 2, 2, 2], "constant", 0.0)
        inner = s(aten.slice.Tensor, s(aten.slice.Tensor, padded, 2, 1, -1, 1), 3, 1, -1, 1)
        return s(aten.add.Tensor, s.conv(padded, 3, 3, 3, padding=(0, 0)), inner)

    assert check(tmp_path, sketch(build)).count("PAD") == 1


@pytest.mark.parametrize(
    ("mode", "value", "name"),
    [("constant", 0.0, "PAD"), ("constant", 0.7, "PADV2"), ("reflect", None, "MIRROR_PAD")],
)
def test_pad(tmp_path, mode, value, name):
    graph = sketch(lambda s, x: s(aten.pad.default, x, [1, 2, 3, 0], mode, value))
    assert check(tmp_path, graph) == [name]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "names"),
    [(3, 2, 0, 0, ["TRANSPOSE_CONV"]), (3, 2, 1, 0, ["TRANSPOSE_CONV", "SLICE"]),
     (5, 3, 1, 1, ["TRANSPOSE_CONV", "SLICE"])],
)  # fmt: skip
def test_transposed_convolution_left_by_lowering(tmp_path, kernel, stride, padding, extra, names):
    def build(s, x):
        weight, bias = s.const(s.noise(3, 2, kernel, kernel)), s.const(s.noise(2))
        args = ([stride] * 2, [padding] * 2, [extra] * 2, 1, [1, 1])
        return s(aten.conv_transpose2d.input, x, weight, bias, *args)

    assert check(tmp_path, lower(sketch(build), TFLITE_FLOAT)) == names


POINTWISE = {
    "RELU": lambda s, x: s(aten.relu.default, x),
    "RELU6": lambda s, x: s(aten.clamp.default, x, 0.0, 6.0),
    "RELU_N1_TO_1": lambda s, x: s(aten.clamp.default, x, -1.0, 1.0),
    "RELU_0_TO_1": lambda s, x: s(aten.clamp.default, x, 0, 1),
    "MINIMUM": lambda s, x: s(aten.clamp.default, x, None, 0.3),
    "MAXIMUM": lambda s, x: s(aten.clamp.default, x, -0.3, None),
    "LEAKY_RELU": lambda s, x: s(aten.leaky_relu.default, x, 0.2),
    "PRELU": lambda s, x: s(aten.prelu.default, x, s.const(s.noise(3))),
    "LOGISTIC": lambda s, x: s(aten.sigmoid.default, x),
    "TANH": lambda s, x: s(aten.tanh.default, x),
    "SQUARE": lambda s, x: s(aten.pow.Tensor_Scalar, x, 2),
    "POW": lambda s, x: s(aten.pow.Tensor_Scalar, x, 3.0),
    "ADD": lambda s, x: s(aten.add.Tensor, x, s.const(s.noise(1, 3, 1, 1))),
    "SUB": lambda s, x: s(aten.sub.Tensor, 1.0, x),
    "MUL": lambda s, x: s(aten.mul.Tensor, x, s.const(s.noise(3, 1, 1))),
    "DIV": lambda s, x: s(aten.div.Tensor, x, 3.0),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(tmp_path, name):
    assert check(tmp_path, sketch(POINTWISE[name])) == [name]


@pytest.mark.parametrize("name", ["SQRT", "RSQRT"])
def test_roots(tmp_path, name):
    def build(s, x):
        positive = s(aten.add.Tensor, s(aten.pow.Tensor_Scalar, x, 2), 0.1)
        if name == "SQRT":
            return s(aten.sqrt.default, positive)
        return s(aten.pow.Tensor_Scalar, positive, -0.5)

    assert check(tmp_path, sketch(build))[-1] == name


def test_two_sided_clip_of_unusual_bounds(tmp_path):
    graph = sketch(lambda s, x: s(aten.clamp.default, x, -0.2, 0.4))
    assert check(tmp_path, graph) == ["MAXIMUM", "MINIMUM"]


@pytest.mark.parametrize("target", [aten.maximum.default, aten.minimum.default])
def test_extremes_of_two_tensors(tmp_path, target):
    names = check(tmp_path, sketch(lambda s, x: s(target, x, s.conv(x, 3, 3))))
    assert names[-1] == target.name().removeprefix("aten::").upper()


@pytest.mark.parametrize(
    "carrier", [aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.conv2d.default]
)
@pytest.mark.parametrize("bounds", [(0.0, None), (0.0, 6.0), (-1.0, 1.0)])
def test_activations_are_fused(tmp_path, carrier, bounds):
    def build(s, x):
        y = s.conv(x, 3, 3)
        y = y if carrier is aten.conv2d.default else s(carrier, y, x)
        return s(aten.clamp.default, y, *bounds)

    graph = lower(sketch(build), TFLITE_FLOAT)
    names = check(tmp_path, graph)
    assert (
        names == ["CONV_2D"]
        if carrier is aten.conv2d.default
        else names[1:] != [] and len(names) == 2
    )


def test_an_activation_with_a_second_reader_of_its_source_is_not_fused(tmp_path):
    def build(s, x):
        y = s.conv(x, 3, 3)
        return s(aten.add.Tensor, s(aten.relu.default, y), y)

    assert check(tmp_path, sketch(build)) == ["CONV_2D", "RELU", "ADD"]


@pytest.mark.parametrize("parts", [2, 5, 6, 7, 9, 16])
def test_concat_of_many_parts_is_delegated(tmp_path, parts):
    def build(s, x):
        return s(aten.cat.default, [s(aten.mul.Tensor, x, 0.1 * i) for i in range(parts)], 1)

    names = check(tmp_path, sketch(build), sizes=[(5, 6)])
    assert set(names) == {"MUL", "CONCATENATION"}
    assert fully_delegated(tmp_path / "one.tflite")


def test_the_same_part_many_times_needs_few_concats(tmp_path):
    graph = sketch(lambda s, x: s(aten.cat.default, [x] * 9, 1))
    assert check(tmp_path, graph) == ["CONCATENATION"] * 2


@pytest.mark.parametrize(
    ("axis", "start", "end", "step", "name"),
    [(1, 1, 3, 1, "SLICE"), (1, -2, 2**63 - 1, 1, "SLICE"), (2, 1, -1, 1, "SLICE"),
     (3, 2, 100, 1, "SLICE"), (-1, 0, 2**63 - 1, 2, "STRIDED_SLICE"),
     (2, 1, 9, 3, "STRIDED_SLICE")],
)  # fmt: skip
def test_slice(tmp_path, axis, start, end, step, name):
    graph = sketch(lambda s, x: s(aten.slice.Tensor, x, axis, start, end, step))
    assert check(tmp_path, graph) == [name]


@pytest.mark.parametrize("block", [2, 3])
def test_shuffles(tmp_path, block):
    def build(s, x):
        y = s(aten.pixel_unshuffle.default, x, block)
        return s(aten.pixel_shuffle.default, s.conv(y, 3 * block**2, 3 * block**2), block)

    names = check(tmp_path, lower(sketch(build), TFLITE_FLOAT), sizes=[(6, 12), (18, 6)])
    assert names == ["SPACE_TO_DEPTH", "CONV_2D", "DEPTH_TO_SPACE"]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (7, 3, 0), (3, 2, 1)]
)
def test_max_pool(tmp_path, kernel, stride, padding):
    graph = sketch(
        lambda s, x: s(aten.max_pool2d.default, x, [kernel] * 2, [stride] * 2, [padding] * 2)
    )
    sizes = [(9, 15)] if (stride, padding) == (2, 1) else SIZES  # SAME only at odd sizes
    assert check(tmp_path, graph, sizes=sizes) == ["MAX_POOL_2D"]


def test_average_pool(tmp_path):
    plain = sketch(lambda s, x: s(aten.avg_pool2d.default, x, [2, 2], [2, 2]))
    assert check(tmp_path, plain) == ["AVERAGE_POOL_2D"]
    padded = sketch(lambda s, x: s(aten.avg_pool2d.default, x, [3, 3], [1, 1], [1, 1]))
    assert check(tmp_path, padded) == ["PAD", "AVERAGE_POOL_2D"]


def test_mean_and_broadcast(tmp_path):
    def build(s, x):
        return s(aten.mul.Tensor, x, s(aten.mean.dim, x, [2, 3], True))

    assert check(tmp_path, sketch(build)) == ["MEAN", "MUL"]


@pytest.mark.parametrize("aligned", [False, True])
def test_bilinear(tmp_path, aligned):
    graph = sketch(lambda s, x: s(aten.upsample_bilinear2d.vec, x, [23, 31], aligned, None))
    assert check(tmp_path, graph) == ["RESIZE_BILINEAR"]


def test_nearest(tmp_path):
    graph = sketch(lambda s, x: s(aten.upsample_nearest2d.vec, x, None, [3.0, 3.0]))
    assert check(tmp_path, graph) == ["RESIZE_NEAREST_NEIGHBOR"]


# --- what cannot be written -----------------------------------------------------------------


UNSUPPORTED = {
    "no such operator": lambda s, x: s(aten.cumsum.default, x, 1),
    "rows and columns": lambda s, x: s(aten.mean.dim, x, [1], True),
    "replicate": lambda s, x: s(aten.pad.default, x, [1, 1, 1, 1], "replicate", None),
    "ceil_mode": lambda s, x: s(aten.avg_pool2d.default, x, [2, 2], [2, 2], [0, 0], True),
    "computed from the image": lambda s, x: s(
        aten.conv2d.default, x, s(aten.mean.dim, x, [2, 3], True), None, [1, 1], [0, 0], [1, 1], 1
    ),
    "beyond": lambda s, x: s(
        aten.conv_transpose2d.input, x, s.const(s.noise(3, 2, 3, 3)), None,
        [3, 3], [0, 0], [2, 2], 1, [1, 1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_unsupported_layers_are_named(tmp_path, reason):
    graph = sketch(UNSUPPORTED[reason])
    last = next(n for n in reversed(graph.graph.nodes) if n.op == "call_function")
    last.meta["nn_module_stack"] = {"a": ("body.3.act", torch.nn.Module)}
    path = tmp_path / "never.tflite"
    with pytest.raises(UnsupportedError, match=f"layer `body.3.act`.*{reason}"):
        write(graph, network(graph), path, 10, 12)
    assert list(tmp_path.iterdir()) == []

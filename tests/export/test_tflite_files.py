"""The file itself: what it says of itself, its ends, its precisions, what it is written with."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import flatbuffers
import numpy as np
import pytest
import torch
from edgesr.export.lower import lower
from edgesr.export.tflite import (
    fully_delegated,
    metadata_of,
    operator_counts,
    operator_list,
    write,
)  # fmt: skip
from edgesr.export.tflite.builder import ALIGNMENT
from edgesr.export.tflite.reader import load
from edgesr.export.tflite.versions import minimum_runtime
from edgesr.quantize import QParams, QuantizedGraph, QWeights, integer
from lowering_sketch import (
    TFLITE_FLOAT,
    Sketch,
    image,
    network,
    relative_difference,
    run_file,
    run_nchw,
)  # fmt: skip

from edgesr.errors import BadFileError, EnvironmentLimitError, UnsupportedError
from edgesr.graph import aten
from edgesr.targets import INT8_FORMS

HEIGHT, WIDTH = 7, 11


def small_net(channels=3, block=3):
    """conv -> relu -> conv -> + nearest -> shuffle -> clip, as plain networks are."""
    s = Sketch(channels)
    width = channels * block**2
    y = s.conv(s(aten.relu.default, s.conv(s.x, channels, 8)), 8, width)
    copies = [s(aten.slice.Tensor, s.x, 1, c, c + 1, 1) for c in range(channels)]
    anchor = s(aten.cat.default, [p for p in copies for _ in range(block**2)], 1)
    y = s(aten.pixel_shuffle.default, s(aten.add.Tensor, y, anchor), block)
    return s.done(s(aten.clamp.default, y, 0.0, 1.0))


def quantized_by_hand(graph, value_range=1.0):
    """Pixels at both ends, features in [0, 4] or [-2, 2], weights to 127."""
    module = lower(graph, INT8_FORMS)
    pixels = QParams(float(np.float32(value_range / 255)), -128)
    activations, weights = {}, {}
    convolutions = [n for n in module.graph.nodes if n.target is aten.conv2d.default]
    for node in module.graph.nodes:
        if node.op in ("placeholder", "call_function"):
            activations[node.name] = pixels
    features = [n for n in convolutions if module.get_buffer(n.args[1].target).shape[2] == 3]
    hidden, last = features
    relu = next(iter(hidden.users))
    activations[hidden.name] = activations[relu.name] = QParams(float(np.float32(4 / 255)), -128)
    activations[last.name] = QParams(float(np.float32(4 / 255)), 0)
    for node in convolutions:
        weight = module.get_buffer(node.args[1].target)
        scale = (weight.abs().flatten(1).amax(1) / 127).float()
        source = activations[node.args[0].name].scale
        bias = torch.zeros(len(weight))
        if node.args[2] is not None:
            bias = module.get_buffer(node.args[2].target) / (scale * source)
        codes = torch.round(weight / scale[:, None, None, None]).to(torch.int8)
        weights[node.name] = QWeights(codes, scale, torch.round(bias).to(torch.int32))
    net = network(module, graph.graph.find_nodes(op="placeholder")[0].meta["val"].shape[1])
    return QuantizedGraph(module, activations, weights, net)


@pytest.fixture
def file(tmp_path):
    graph = lower(small_net(), TFLITE_FLOAT)
    path = tmp_path / "net.tflite"
    written = write(graph, network(graph), path, HEIGHT, WIDTH)
    return graph, path, written


# --- what the file says ---------------------------------------------------------------------


def test_operators_are_counted_in_the_file(file):
    _, path, written = file
    assert written.operators == operator_counts(path)
    assert operator_list(path) == [
        "CONV_2D", "CONV_2D", "CONCATENATION", "CONCATENATION", "ADD", "MINIMUM", "DEPTH_TO_SPACE",
    ]  # fmt: skip


def test_signature_and_description(file):
    from ai_edge_litert.interpreter import Interpreter

    _, path, _ = file
    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    x = np.random.default_rng(0).random((1, HEIGHT, WIDTH, 3), np.float32)
    assert runner(x=x)["y"].shape == (1, 3 * HEIGHT, 3 * WIDTH, 3)
    assert load(path).description.decode() == (
        "sketch: RGB super-resolution x3, values in [0, 1]. Drawn by hand"
    )


def test_metadata_describes_the_images(tmp_path):
    graph = lower(small_net(1), TFLITE_FLOAT)
    path = tmp_path / "luma.tflite"
    write(graph, network(graph, 1, 255.0), path, HEIGHT, WIDTH)
    entries = metadata_of(path)
    assert entries["min_runtime_version"].rstrip(b"\0") == b"2.1.0"  # DEPTH_TO_SPACE
    content = entries["TFLITE_METADATA"]
    assert content[4:8] == b"M001"
    tensor = first(first(root(content), 3), 2)  # subgraph_metadata -> input_tensor_metadata
    assert text(tensor, 0) == "x"
    properties = follow(follow(tensor, 3), 1)
    assert scalar(follow(tensor, 3), 0) == 2 and scalar(properties, 0) == 2  # image, grayscale
    normalization = follow(first(tensor, 4), 1)
    assert floats(normalization, 0) == [0.0] and floats(normalization, 1) == [1.0]
    assert floats(follow(tensor, 5), 0) == [255.0] and floats(follow(tensor, 5), 1) == [0.0]
    output = first(first(root(content), 3), 3)
    assert text(output, 0) == "y"


def test_constants_are_aligned(file):
    """Runtimes that map the file read weights in place."""
    _, path, _ = file
    content = path.read_bytes()
    found = [np.asarray(b.data) for b in load(path).buffers if b.data is not None]
    assert len(found) > 4
    for data in found:
        if len(data) > 64:
            assert content.index(data.tobytes()) % ALIGNMENT == 0


def test_minimum_runtime_is_the_newest_any_operator_needs():
    assert minimum_runtime([("CONV_2D", 1)]) == "1.14.0"
    assert minimum_runtime([("CONV_2D", 6), ("DEPTH_TO_SPACE", 1)]) == "2.9.0"
    assert minimum_runtime([("RELU_0_TO_1", 1), ("CONV_2D", 6)]) == "2.10.0"


# --- precisions -----------------------------------------------------------------------------


def test_half_precision_stores_half_and_stays_close(file, tmp_path):
    graph, path, _ = file
    half = tmp_path / "half.tflite"
    written = write(graph, network(graph), half, HEIGHT, WIDTH, precision="fp16")
    assert written.operators["DEQUANTIZE"] == 4  # two kernels, two biases
    types = {t.type for t in load(half).subgraphs[0].tensors}
    assert 1 in types  # FLOAT16
    assert fully_delegated(half)
    weights = sum(b.numel() for b in graph.buffers())
    assert half.stat().st_size < path.stat().st_size - weights  # 2 bytes less each, more operators
    x = image(3, HEIGHT, WIDTH)
    assert 0 < relative_difference(run_nchw(half, x), run_nchw(path, x)) < 2e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("io", ["uint8", "int8", "float32"])
def test_int8_equals_the_integer_reference(tmp_path, channels, io):
    quantized = quantized_by_hand(small_net(channels))
    path = tmp_path / "int8.tflite"
    written = write(quantized, quantized.network, path, HEIGHT, WIDTH, io=io)
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)
    pixels[0, 0], pixels[-1, -1] = 0, 255
    want = integer.run(quantized, pixels)
    assert want.min() == 0 and want.max() == 255
    x = {
        "uint8": pixels,
        "int8": (pixels.astype(np.int16) - 128).astype(np.int8),
        "float32": pixels.astype(np.float32) / 255,
    }[io]
    got = run_file(path, x[None])[0]
    if io == "int8":
        got = got.astype(np.int16) + 128
    elif io == "float32":
        got = np.rint(got * 255)
    assert np.array_equal(got, want)
    core = ["CONV_2D", "CONV_2D", "CONV_2D", "ADD", "DEPTH_TO_SPACE"]
    ends = {"uint8": ("QUANTIZE", "QUANTIZE"), "float32": ("QUANTIZE", "DEQUANTIZE")}
    assert sorted(operator_list(path)) == sorted(core + list(ends.get(io, ())))
    assert sum(written.operators.values()) - written.operators["CONV_2D"] <= 4
    assert io == "uint8" or fully_delegated(path)


def test_pixels_are_raw_codes(tmp_path):
    quantized = quantized_by_hand(small_net())
    path = tmp_path / "int8.tflite"
    write(quantized, quantized.network, path, HEIGHT, WIDTH)
    tensors = load(path).subgraphs[0].tensors
    graph = load(path).subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        quantization = tensors[index].quantization
        assert float(quantization.scale[0]) == np.float32(1 / 255)
        assert int(quantization.zeroPoint[0]) == 0


def test_a_clip_that_does_not_saturate_is_written(tmp_path):
    """QParams wider than the clip: the bounds become codes."""
    s = Sketch()
    graph = s.done(s(aten.clamp.default, s(aten.mul.Tensor, s.x, s.x), 0.25, 0.5))
    wide = QParams(float(np.float32(1 / 200)), -128)
    pixels = QParams(float(np.float32(1 / 255)), -128)
    names = [n.name for n in graph.graph.nodes if n.op == "call_function"]
    activations = {"x": pixels, names[0]: wide, names[1]: wide}
    quantized = QuantizedGraph(graph, activations, {}, network(graph))
    path = tmp_path / "clip.tflite"
    write(quantized, quantized.network, path, HEIGHT, WIDTH, io="int8")
    assert operator_list(path) == ["MUL", "MAXIMUM", "MINIMUM"]
    codes = run_file(path, np.arange(-116, 115, dtype=np.int8).reshape(1, HEIGHT, WIDTH, 3))
    assert (codes.min(), codes.max()) == (wide.code_of(0.25), wide.code_of(0.5))


def test_what_int8_cannot_do_is_refused(tmp_path):
    s = Sketch()
    graph = s.done(s(aten.div.Tensor, s.x, s.x))
    pixels = QParams(1 / 255, -128)
    names = [n.name for n in graph.graph.nodes if n.op != "output"]
    quantized = QuantizedGraph(graph, dict.fromkeys(names, pixels), {}, network(graph))
    with pytest.raises(UnsupportedError, match="DIV has no int8 kernel"):
        write(quantized, quantized.network, tmp_path / "never.tflite", HEIGHT, WIDTH)
    s = Sketch()
    graph = s.done(s(aten.sigmoid.default, s.x))
    names = [n.name for n in graph.graph.nodes if n.op != "output"]
    quantized = QuantizedGraph(graph, dict.fromkeys(names, pixels), {}, network(graph))
    with pytest.raises(UnsupportedError, match=r"LOGISTIC wants an output scale"):
        write(quantized, quantized.network, tmp_path / "never.tflite", HEIGHT, WIDTH)
    assert not list(tmp_path.iterdir())


# --- speed, files, imports ------------------------------------------------------------------


def test_the_writer_takes_milliseconds(tmp_path):
    graph = lower(small_net(), TFLITE_FLOAT)
    write(graph, network(graph), tmp_path / "a.tflite", 360, 640)
    times = [
        write(graph, network(graph), tmp_path / "a.tflite", 360, 640).milliseconds for _ in range(5)
    ]
    assert min(times) < 50


def test_files_that_are_no_tflite_are_refused(tmp_path, file):
    other = tmp_path / "other.tflite"
    other.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(BadFileError, match="not a TFLite file"):
        operator_counts(other)
    other.write_bytes(file[1].read_bytes()[:400])
    with pytest.raises(BadFileError, match="damaged"):
        operator_counts(other)


def test_nothing_is_left_when_the_folder_cannot_be_written(file, tmp_path):
    graph, _, _ = file
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    with pytest.raises(EnvironmentLimitError):
        write(graph, network(graph), blocked / "net.tflite", HEIGHT, WIDTH)


def test_no_tensorflow_is_imported():
    code = (
        "import sys, edgesr.export.tflite, edgesr.export.lower, edgesr.targets.tflite\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'jax')]\n"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_value_range_is_told(tmp_path):
    graph = lower(small_net(), TFLITE_FLOAT)
    net = replace(network(graph), value_range=255.0, scale=2)
    path = tmp_path / "wide.tflite"
    write(graph, net, path, HEIGHT, WIDTH)
    assert "x2, values in [0, 255]" in load(path).description.decode()


# --- a few lines of flatbuffer reading ------------------------------------------------------


def root(content):
    position = flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)
    return flatbuffers.table.Table(bytearray(content), position)


def slot(table, field):
    return table.Offset(4 + 2 * field)


def follow(table, field):
    return flatbuffers.table.Table(table.Bytes, table.Indirect(slot(table, field) + table.Pos))


def first(table, field):
    start = table.Vector(slot(table, field))
    return flatbuffers.table.Table(table.Bytes, table.Indirect(start))


def scalar(table, field):
    return table.Get(flatbuffers.number_types.Uint8Flags, slot(table, field) + table.Pos)


def text(table, field):
    return table.String(slot(table, field) + table.Pos).decode()


def floats(table, field):
    offset = slot(table, field)
    start = table.Vector(offset)
    flags = flatbuffers.number_types.Float32Flags
    return [table.Get(flags, start + 4 * i) for i in range(table.VectorLen(offset))]

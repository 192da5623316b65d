"""MZSR's enlargement is MATLAB's, and a TensorFlow checkpoint is read without TensorFlow."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from edgesr.export import export

from edgesr.data.bicubic import imresize
from edgesr.errors import BadFileError, UnsupportedError
from edgesr.models.intake import load
from edgesr.models.mzsr import MZSR, BicubicEnlargement
from edgesr.models.tf_checkpoint import read_tf_checkpoint
from edgesr.network import Network

MAGIC = 0xDB4775248B80FB57


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlargement_is_matlabs(scale):
    image = np.random.default_rng(0).random((7, 9, 3)).astype(np.float32)
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    ours = BicubicEnlargement(scale)(x)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, imresize(image, scale), atol=1e-5)


def test_enlargement_elsewhere_keeps_the_pixels_it_has():
    """With the first pixel's centre on the first output pixel, every second pixel is the input."""
    enlarge = BicubicEnlargement(2)
    enlarge.place(0, 0)
    x = torch.rand(1, 3, 6, 5)
    torch.testing.assert_close(enlarge(x)[..., ::2, ::2], x)


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_every_target_runs_it(target, tmp_path):
    network = Network(MZSR(2, channels=8, layers=3).eval(), "mzsr-tiny-x2", 2)
    parity = export(network, target=target, shape=(16, 24), out=tmp_path).manifest.parity
    assert parity["max_difference"] <= parity["tolerance"]


# --- TensorFlow's checkpoints ----------------------------------------------------------------


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def block(entries):
    """A table block whose keys share what they can with the one before."""
    out, before = b"", b""
    for key, value in entries:
        shared = next((i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b),
                      min(len(key), len(before)))  # fmt: skip
        fresh = key[shared:]
        out += varint(shared) + varint(len(fresh)) + varint(len(value)) + fresh + value
        before = key
    return out + struct.pack("<II", 0, 1)


def write_checkpoint(folder, variables, *, compression=0, dtype=1):
    data, entries = b"", [(b"", b"\x08\x01")]
    for name, values in sorted(variables.items()):
        content = values.astype("<f4").tobytes()
        sizes = b"".join(b"\x12" + varint(len(d)) + d for d in
                         (b"\x08" + varint(s) for s in values.shape))  # fmt: skip
        entry = b"\x08" + varint(dtype) + b"\x12" + varint(len(sizes)) + sizes
        entry += b"\x20" + varint(len(data)) + b"\x28" + varint(len(content))
        entries.append((name.encode(), entry + b"\x35" + bytes(4)))
        data += content
    body = block(entries)
    trailer = bytes([compression]) + bytes(4)
    index = block([(b"z", varint(0) + varint(len(body)))])
    footer = varint(0) + varint(0) + varint(len(body) + 5) + varint(len(index))
    table = body + trailer + index + trailer[:0] + bytes(5) + footer.ljust(40, b"\0")
    path = folder / "Net.index"
    path.write_bytes(table + struct.pack("<Q", MAGIC))
    (folder / "Net.data-00000-of-00001").write_bytes(data)
    return path


@pytest.fixture
def variables():
    rng = np.random.default_rng(0)
    shapes = {1: (3, 3, 3, 64), 8: (3, 3, 64, 3)}
    found = {}
    for i in range(1, 9):
        kernel = rng.standard_normal(shapes.get(i, (3, 3, 64, 64)))
        found[f"MODEL/conv{i}/kernel"] = kernel
        found[f"MODEL/conv{i}/kernel/Adam"] = kernel * 0
        found[f"MODEL/conv{i}/bias"] = rng.standard_normal(kernel.shape[-1])
    return found


def test_a_checkpoint_is_recognized_and_loaded(tmp_path, variables):
    network = load(write_checkpoint(tmp_path, variables))
    assert network.name == "mzsr-x2"
    conv = network.module.convs[2]
    expected = variables["MODEL/conv3/kernel"].transpose(3, 2, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(conv.weight, expected)
    np.testing.assert_array_equal(conv.bias, variables["MODEL/conv3/bias"].astype(np.float32))


def test_damaged_checkpoints_are_explained(tmp_path, variables):
    path = write_checkpoint(tmp_path, variables)
    data = path.with_suffix(".data-00000-of-00001")
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFileError, match="damaged or truncated"):
        read_tf_checkpoint(path)
    data.unlink()
    with pytest.raises(BadFileError, match="cannot be read"):
        read_tf_checkpoint(path)
    with pytest.raises(UnsupportedError, match="compressed"):
        read_tf_checkpoint(write_checkpoint(tmp_path, variables, compression=1))
    with pytest.raises(UnsupportedError, match="no array of numbers"):
        read_tf_checkpoint(write_checkpoint(tmp_path, variables, dtype=7))


@pytest.mark.pack
def test_the_published_start_scores_what_it_should(pack, monkeypatch):
    """The large-scale x2 start on bicubic, as a network of VDSR's size and kind does (37.5 dB)."""
    from edgesr.data.datasets import dataset
    from edgesr.evaluate import evaluate

    monkeypatch.setenv("EDGESR_DATA", str(pack))
    torch.set_num_threads(1)
    report = evaluate(load(pack / "weights" / "mzsr" / "Pretrained.index"), dataset("set5"))
    assert report.mean("Y").psnr == pytest.approx(37.546, abs=0.02)

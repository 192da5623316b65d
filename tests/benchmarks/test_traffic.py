"""Bytes moved, by hand."""

import pytest
from edgesr.benchmarks.traffic import bytes_moved
from edgesr.export import export

from edgesr.errors import BadFileError
from edgesr.models.registry import create

PIXELS, WEIGHTS = 16 * 24, 9 * (3 * 16 + 4 * 16 * 16 + 16 * 12)
VALUES = (3 + 16) + 4 * (16 + 16) + (16 + 12)  # of six convolutions, read and written, per pixel


@pytest.mark.parametrize(
    ("target", "extra"), [("tflite", 2 * 12), ("onnx", 0), ("openvino", 0), ("ncnn", 0)]
)  # TFLite has its clip as an operator
def test_fp32_by_hand(tmp_path, target, extra):
    """plain-s-x2: six convolutions, the last sums' enlargement is read and written once more."""
    network = create("plain-s-x2")
    network.module.eval().requires_grad_(False)
    path = export(network, target=target, shape=(16, 24), out=tmp_path).path
    moved = bytes_moved(path, "fp32", 16, 24)
    # depth-to-space and the skip: between 2 and 6 more passes over 12 values a pixel
    least = 4 * (PIXELS * (VALUES + 2 * 12 + extra) + WEIGHTS)
    assert least <= moved <= least + 4 * PIXELS * 6 * 12


def test_other_files_are_not_known(tmp_path):
    assert bytes_moved(tmp_path / "x.mlmodel", "fp32", 8, 8) is None
    for name in ("x.tflite", "x.onnx", "x.xml", "x.param"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(BadFileError, match=name):
            bytes_moved(tmp_path / name, "fp32", 8, 8)

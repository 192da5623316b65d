"""Every exported form of networks for any scale, at five scales: torch's numbers, the integer
reference's codes. The networks are narrow, their wiring is real; the measure is what `export`
proves of each file."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from edgesr.export import export
from edgesr.export.pipeline import prepare
from edgesr.quantize import quantize

from edgesr.data.datasets import calibration_samples
from edgesr.errors import UnsupportedError
from edgesr.models.arbsr import ArbPlain
from edgesr.models.metasr import MetaPlain
from edgesr.network import Network
from edgesr.scales import factors, period, scale_text

pytestmark = pytest.mark.slow

SCALES = {
    ArbPlain: [(1.5, 1.5), 2, (2.2, 4.2), (2.35, 2.35), (3.1, 1.4)],
    MetaPlain: [(1.5, 1.5), 2, (2.5, 2.5), (2.35, 2.35), 4],
}
CASES = [(kind, scale) for kind, scales in SCALES.items() for scale in scales]
NAMES = [f"{kind.__name__}-{scale_text(scale)}" for kind, scale in CASES]
TARGETS = ("tflite", "onnx", "openvino")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def network(kind, scale):
    torch.manual_seed(0)
    options = {"every": 1} if kind is ArbPlain else {}
    module = kind(scale, channels=8, blocks=2, **options).eval().requires_grad_(False)
    multiple = int(np.lcm(2, period(scale)))
    name = f"{kind.__name__.lower()}-x{scale_text(scale)}"
    return Network(module, name, scale, pad_multiple=multiple)


@pytest.mark.parametrize(("kind", "scale"), CASES, ids=NAMES)
@pytest.mark.parametrize("target", TARGETS)
def test_float_files_are_torchs(kind, scale, target, tmp_path):
    given = network(kind, scale)
    side = 2 * given.pad_multiple if given.pad_multiple > 8 else 24
    parity = export(given, target=target, shape=(side, 2 * side), out=tmp_path).manifest.parity
    assert parity["max_difference"] <= 1e-5, parity


@pytest.mark.parametrize(("kind", "scale"), CASES, ids=NAMES)
def test_int8_files_are_the_integer_reference(kind, scale, tmp_path):
    given = network(kind, scale)
    side = 2 * given.pad_multiple if given.pad_multiple > 8 else 24
    if not given.module.folds():  # tables of real numbers
        with pytest.raises(UnsupportedError, match="no int8 form"):
            export(given, target="tflite", precision="int8", shape=(side, side), out=tmp_path)
        return
    lowered, plain, _ = prepare(given)
    graph = quantize(
        lowered, plain, [image[:60, :60] for image in islice(calibration_samples(), 1)]
    )
    for target in TARGETS:
        parity = export(graph, target=target, shape=(side, 2 * side), out=tmp_path).manifest.parity
        assert parity["reference"] == "integer reference"
        assert parity["max_difference"] == 0 or (
            target == "openvino" and parity["identical"] > 0.999
        )


def test_the_cases_are_five_scales_each():
    assert all(len(scales) == 5 for scales in SCALES.values())
    assert sum(len(set(factors(scale))) == 2 for scale in SCALES[ArbPlain]) == 2

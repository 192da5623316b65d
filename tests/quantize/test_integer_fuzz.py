"""Random graphs in two runtimes, code by code; 2,000 of them in `benchmarks/results`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from edgesr.benchmarks import fuzz, fuzz_cases
from edgesr.quantize import integer
from edgesr.quantize.exact import causes

RUNTIMES = ["litert", "onnxruntime"]
BATCH = 20


@pytest.mark.parametrize("first", range(0, 200, BATCH))
def test_runtimes_compute_the_reference(first):
    records = fuzz.fuzz(range(first, first + BATCH), runtimes=RUNTIMES)
    broken = [r.description for r in records if r.failures()]
    assert not broken
    assert sum(record.exact for record in records) > BATCH / 2


def test_a_case_is_the_same_every_time():
    one, again = fuzz_cases.make(17), fuzz_cases.make(17)
    assert one.description == again.description
    assert one.quantized.activations == again.quantized.activations
    assert (one.images[-1] == again.images[-1]).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_zero_point_off_by_one_is_noticed(runtime, tmp_path):
    """A writer that took the zero point of a convolution's input for its neighbour."""
    noticed = 0
    for number in (1, 2, 3, 4, 6, 7, 8, 9):
        case = fuzz_cases.make(number)
        name, weights = list(case.quantized.weights.items())[-1]
        sums = weights.weight.to(torch.int32).flatten(1).sum(1).to(torch.int32)
        wrong = {**case.quantized.weights, name: replace(weights, bias=weights.bias + sums)}
        height, width, _ = case.images[0].shape
        run = fuzz.OPENERS[runtime](replace(case.quantized, weights=wrong), height, width, tmp_path)
        wanted = [integer.run(case.quantized, image).transpose(2, 0, 1) for image in case.images]
        noticed += any((run(x) + 128 != y).any() for x, y in zip(case.images, wanted, strict=True))
    assert noticed >= 3  # the others saturate, with the weights that were drawn


def test_a_product_with_halves_is_named():
    """s_a s_b / s_out = 1 / 256 puts many products exactly between two codes."""
    case = next(c for n in range(0, 400, 5) if "mul" in (c := fuzz_cases.make(n)).operators)
    assert integer.is_exact(case.quantized)
    node = next(
        n for n in fuzz_cases.calls_of(case.quantized.graph) if fuzz_cases.name_of(n) == "mul"
    )
    known = dict(case.quantized.activations)
    first, second = (known[x.name] for x in node.args)
    known[node.name] = replace(known[node.name], scale=256 * first.scale * second.scale)
    assert node.name in causes(replace(case.quantized, activations=known))


def test_an_interrupted_run_goes_on(tmp_path):
    lines = tmp_path / "kept.jsonl"
    fuzz.fuzz(range(1, 3), runtimes=["litert"], keep=lines)
    lines.write_text(lines.read_text() + '{"seed": 0, "numb')
    made = []
    records = fuzz.fuzz(range(1, 4), runtimes=["litert"], keep=lines, report=made.append)
    assert [record.number for record in records] == [1, 2, 3]
    whole = [json.loads(line) for line in lines.read_text().splitlines() if line.endswith("}")]
    assert [document["number"] for document in whole] == [1, 2, 3]

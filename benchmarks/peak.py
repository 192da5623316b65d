"""How fast this machine multiplies matrices and copies memory: the ceilings of a convolution.

A convolution is a matrix product, so GMAC/s over the GEMM rate says how much of the machine a
runtime uses, and does so on any machine. The rate is no constant of the data sheet: it is taken in
the same run, in turns with the artifacts, so that clock, heat and neighbours hit both.

oneDNN (inside torch) does the multiplying: u8 x s8 with int32 accumulation, as int8 convolutions
of images do, and fp32. The matrices are large enough for the full rate (2048 gains 2 % with two
threads) and small enough to stay in the cache, as a ceiling should. There are two sizes, and the
faster counts: in one process out of ten, one of them was stuck at a third of its rate for good.

The other ceiling is memory: a copy from one array to another, both larger than any cache, as in
McCalpin's STREAM ("Memory bandwidth and machine balance", 1995). Together they make the roofline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from edgesr.benchmarks.harness import Contender

Arithmetic = Literal["int8", "fp32"]

Ceiling = Literal["int8", "fp32", "copy"]

SIDES = (1024, 1280)
COPIED = 2**27
"""Bytes of each of the two arrays of a copy."""


def arithmetic_of(precision: str) -> Arithmetic:
    """Which ceiling an artifact stands under. CPUs compute fp16 files in fp32."""
    return "int8" if precision.startswith("int8") else "fp32"


def ceiling(kind: Ceiling, threads: int, side: int = 0) -> Contender:
    """`gemm` or `copy`, by name."""
    return copy(threads) if kind == "copy" else gemm(kind, threads, side)


def gemm(arithmetic: Arithmetic, threads: int, side: int) -> Contender:
    """A product of square matrices, `side**3` multiply-accumulates, on this many threads."""
    product = _int8(side) if arithmetic == "int8" else _fp32(side)
    return Contender(
        label=f"GEMM {arithmetic} of {side}, {threads} threads",
        call=product,
        prepare=lambda: torch.set_num_threads(threads),
    )


def copy(threads: int) -> Contender:
    """`COPIED` bytes read and as many written, on this many threads."""
    source = torch.zeros(COPIED // 4)
    target = torch.ones(COPIED // 4)
    return Contender(
        label=f"copy, {threads} threads",
        call=lambda: target.copy_(source),
        prepare=lambda: torch.set_num_threads(threads),
    )


def _fp32(side: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(side, side, generator=generator)
    b = torch.rand(side, side, generator=generator)
    out = torch.empty(side, side)
    return lambda: torch.mm(a, b, out=out)


def _int8(side: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (side, side), dtype=torch.uint8, generator=generator)
    w = torch.randint(-127, 128, (side, side), dtype=torch.int8, generator=generator)
    try:
        packed = torch.ops.onednn.qlinear_prepack(w, [side, side])
    except (AttributeError, RuntimeError):  # a build of torch without oneDNN (ARM, some BSDs)
        s8 = w.clone()
        return lambda: torch._int_mm(s8, w)
    scales = torch.full((side,), 1e-4)
    zero_points = torch.zeros(side, dtype=torch.int32)
    linear = torch.ops.onednn.qlinear_pointwise
    return lambda: linear(
        x, 1.0, 0, packed, scales, zero_points, None, 1.0, 0, torch.uint8, "none", [], ""
    )

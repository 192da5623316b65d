"""Memory is bounded: the result, one tile, and what the runtime weighs by itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEGABYTE = 1 << 20

PROGRAM = """
import resource, sys
import numpy as np, torch
from edgesr.models import create
from edgesr.runtime import NetworkSession, open_session, upscale

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

name, megapixels, artifact = sys.argv[1], float(sys.argv[2]), sys.argv[3]
network = create(name)
network.module.eval()
session = open_session(artifact, threads=2) if artifact else NetworkSession(network, 2)
y, x = np.ogrid[:64, :64]
upscale(session, np.broadcast_to(((3 * x + 5 * y) % 256).astype("u1")[..., None], (64, 64, 3)))
before = peak()
width = 4000
height = round(megapixels * 1e6 / network.scale**2 / width)
image = np.empty((height, width, 3), np.uint8)
for row in range(height):
    image[row] = ((np.arange(width) * 7 + row * 3) % 256)[:, None]
out = upscale(session, image)
assert out[-1, -1].any() or out.any()
print(before, peak(), image.nbytes, out.nbytes)
"""


def measure(name: str, megapixels: float, artifact: str = "") -> tuple[int, int, int, int]:
    """Peak bytes before and after; bytes of the picture and of the result."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, str(megapixels), artifact],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return tuple(map(int, result.stdout.split()))  # type: ignore[return-value]


def test_twelve_megapixels():
    """In one piece the activations alone would take more than this."""
    before, after, picture, result = measure("plain-s-x3", 12)
    assert result >= 11.9e6 * 3
    assert after - before < picture + result + 300 * MEGABYTE


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", ["", "onnx", "tflite"])
def test_a_hundred_megapixels(target, write):
    artifact = ""
    if target:
        artifact = str(
            write("plain-s-x3", target, "fp32", (360, 640) if target == "tflite" else None)
        )
    _, after, _, result = measure("plain-s-x3", 100, artifact)
    assert result >= 99e6 * 3
    assert after < 2000 * MEGABYTE


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_megapixels_of_luma():
    _, after, _, _ = measure("espcn-x3", 100)
    assert after < 2000 * MEGABYTE

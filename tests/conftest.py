"""Fixtures every test may use: small pictures, and the data pack where there is one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

Image = npt.NDArray[np.uint8]

# In CI the same examples every time: a build fails for what changed, not for what was drawn.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of parallel processes, give one all tests of a file, or of the devices' folder."""
    for item in items:
        group = "devices" if item.path.parent.name == "devices" else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def pack() -> Path:
    """The shared pack (`data/eval/Set5`, `weights` ...); the test is skipped without it."""
    folder = os.environ.get("EDGESR_PACK", "")
    if not folder:
        pytest.skip("EDGESR_PACK is not set: this test needs the shared data and weight pack")
    if not (Path(folder) / "data" / "eval").is_dir():
        pytest.skip(f"EDGESR_PACK={folder} has no data/eval")
    return Path(folder)


@pytest.fixture
def rng() -> np.random.Generator:
    """Always the same numbers."""
    return np.random.default_rng(20240229)


@pytest.fixture
def noise(rng: np.random.Generator) -> Image:
    """48x36 RGB noise: every pixel matters, no symmetry hides a transposed axis."""
    return rng.integers(0, 256, (36, 48, 3), np.uint8)


@pytest.fixture
def scene() -> Image:
    """96x72 RGB with what photos have: a gradient, an edge, texture, black and white."""
    y, x = np.mgrid[0:72, 0:96].astype(np.float64)
    red = 255 * x / 95
    green = 127.5 + 100 * np.sin(x / 3) * np.cos(y / 4)
    blue = np.where(x + y > 84, 220.0, 30.0)
    image = np.stack([red, green, blue], axis=2)
    image[:8, :8], image[-8:, -8:] = 0, 255
    return np.rint(image).astype(np.uint8)


@pytest.fixture
def full_disk():
    """A disk that takes files of a given size at most: the system's own write error."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit

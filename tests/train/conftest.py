"""Two small photos-like pictures and the cache of them."""

import numpy as np
import pytest
from PIL import Image

from edgesr.train.patches import PatchCache


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a": (200, 150), "b": (131, 166)}.items():
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def cache(photos, tmp_path_factory):
    return PatchCache([photos], 2, tmp_path_factory.mktemp("cache"))

"""The picture of docs/adapt.md, of an untrained network."""

import numpy as np
import pytest
import torch
from edgesr.benchmarks import adapt_picture
from edgesr.benchmarks.zero_shot import learner

from edgesr.errors import UsageError
from edgesr.models.mzsr import MZSR


def test_the_same_part_of_every_enlargement(monkeypatch):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    seen = []

    def panel(rows, zoom):
        seen.extend(rows)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(adapt_picture, "panel", panel)
    photo = np.random.default_rng(0).integers(0, 256, (67, 90, 3), np.uint8)
    adapt_picture.draw(MZSR(2, channels=4, layers=3).eval().requires_grad_(False), photo)
    (row,) = seen
    assert [name.split(":")[0] for name in row] == ["bicubic", "before", "one step", "ten steps"]
    assert {cell.shape for cell in row.values()} == {(64, 88, 3)}
    _, before, after, _ = row.values()
    assert not np.array_equal(before, after)


def test_what_does_not_adapt():
    with pytest.raises(UsageError, match="does not adapt"):
        learner("plain-m-x2")

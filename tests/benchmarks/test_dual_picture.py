"""The picture of docs/drn.md, of an untrained network."""

import numpy as np
import pytest
import torch
from edgesr.benchmarks import dual_picture
from edgesr.benchmarks.dual import BLOCKS, CHANNELS, SCALE

from edgesr.adapt.dual import DualRegression
from edgesr.errors import BadFileError, CheckpointError
from edgesr.models.drn import DRN
from edgesr.train.state import write_state


@pytest.fixture
def state(tmp_path):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    content = {
        "average": DRN(SCALE, CHANNELS, BLOCKS).state_dict(),
        "objective": DualRegression(SCALE).state_dict(),
    }
    write_state(content, tmp_path / "state.pt")
    return tmp_path / "state.pt"


def test_the_picture_has_three_rows_of_three(state, monkeypatch):
    seen = []

    def panel(rows):
        seen.extend(rows)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(dual_picture, "panel", panel)
    monkeypatch.setattr(dual_picture, "SIDE", 16)
    photo = np.random.default_rng(0).integers(0, 256, (97, 130, 3), np.uint8)
    dual_picture.draw(*dual_picture.load_loop(state), photo)
    assert [len(row) for row in seen] == [3, 3, 3]
    assert {cell.shape for row in seen for cell in row.values()} == {(64, 64, 3)}
    low = seen[0]["photo"]
    assert (low[::4, ::4] == low[3::4, 3::4]).all()  # every small pixel 4x4 times
    assert all(caption.endswith(" dB") for caption in seen[2])
    # A shift is seen where the picture has edges.
    as_it_is, shifted, _ = seen[2].values()
    assert (as_it_is != shifted).any()


def test_a_state_of_another_network_is_refused(state, tmp_path):
    with pytest.raises(BadFileError, match="not the state of a training run"):
        dual_picture.load_loop(tmp_path / "missing.pt")
    write_state({"average": {}, "objective": {}}, state)
    with pytest.raises(CheckpointError, match=r"edgesr\.benchmarks\.dual"):
        dual_picture.load_loop(state)

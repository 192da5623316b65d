"""Two processes that share each batch learn what one learns."""

import os
import subprocess
import sys

import pytest
import torch

from edgesr.errors import UsageError
from edgesr.train.engine import Engine

RUN = """
import sys, torch
from pathlib import Path
from edgesr.models.plain import Plain
from edgesr.network import Network
from edgesr.train.loop import Engine, Schedule, train
from edgesr.train.objective import Reconstruction
from edgesr.train.patches import PatchCache
torch.set_num_threads(1)
photos, cache, out = map(Path, sys.argv[1:])
torch.manual_seed(0)
# A GPU would be shared by both; fp32, so that what differs is the order of sums alone.
engine = Engine(device="cpu", precision="fp32")
train(Network(Plain(2, 8, 1), "small", 2), PatchCache([photos], 2, cache), out,
      Schedule(steps=6, batch=4, patch=16, warm_up=2), every=3, engine=engine,
      objective=Reconstruction({"l1": 1.0, "ssim": 0.1}, squared_from=0.5))
"""


def test_two_processes_equal_one(photos, tmp_path, monkeypatch):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    folder = str(tmp_path / "cache")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*launcher, str(script), str(photos), folder, str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["", str(photos), folder, str(tmp_path / "one")])
    exec(compile(RUN, "run.py", "exec"), {})
    torch.set_num_threads(threads)
    one, two = (torch.load(tmp_path / n / "state.pt", weights_only=True) for n in ("one", "two"))
    assert one["step"] == two["step"] == 6
    for name, value in one["average"].items():
        torch.testing.assert_close(two["average"][name], value, rtol=1e-4, atol=1e-6)
    losses = [[row["loss"] for row in state["history"]] for state in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_batch_that_cannot_be_shared(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="a batch of 16 cannot be shared by 3"):
        Engine().start(16)

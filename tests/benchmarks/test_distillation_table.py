"""The comparison of distillations: fair pairs, a command that goes on, a table that adds up."""

import json

import numpy as np
import pytest
import torch
from edgesr.benchmarks import distillation
from edgesr.benchmarks.distillation import PLAIN, Cycle, Setup, gains, learn, markdown, run
from PIL import Image

from edgesr.errors import UsageError
from edgesr.models import create
from edgesr.train.distil import Teacher
from edgesr.train.patches import PatchCache
from edgesr.train.validation import PsnrOn

SETUP = Setup(first_steps=3, steps=2, batch=2, patch=16, batches=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 22, 3), np.uint8)
    Image.fromarray(pixels).resize((220, 200)).save(folder / "a.png")
    return PatchCache([folder], 2, tmp_path_factory.mktemp("cache"))


def teacher():
    torch.manual_seed(9)
    return create("plain-m-x2")


def rows(*figures):
    return [
        {"strategy": s, "factor": f, "seed": n, "psnr": {"set5": value}, "seconds": 1}
        for s, f, n, value in figures
    ]


DOCUMENT = {
    "setup": {"student": "s", "first_steps": 1, "steps": 2, "batch": 3, "patch": 4, "batches": 5},
    "images": 6,
    "protocol": "as papers do",
    "teacher": {"name": "t", "psnr": {"set5": 38.0}},
    "rows": rows(
        (PLAIN, 1.0, 0, 30.0), (PLAIN, 1.0, 1, 31.0), ("fakd", 1.0, 0, 30.1),
        ("fakd", 1.0, 1, 31.3), ("fakd", 0.1, 1, 30.5), ("output", 1.0, 7, 40.0),
    ),
}  # fmt: skip


def test_gains_are_differences_of_the_same_seed():
    assert gains(DOCUMENT, "fakd", 1.0, "set5") == pytest.approx([0.1, 0.3])
    assert gains(DOCUMENT, "fakd", 0.1, "set5") == pytest.approx([-0.5])
    assert gains(DOCUMENT, "output", 1.0, "set5") == []


def test_the_table_adds_up():
    document = {**DOCUMENT, "rows": DOCUMENT["rows"][:-1]}
    lines = markdown(document).splitlines()
    assert "| plain training |  | 2 | 30.50 |  |" in lines
    assert any("FAKD" in line and "+0.200 ± 0.141" in line for line in lines)
    assert any("FAKD" in line and "| 0.1 | 1 | 30.50 | -0.500 |" in line for line in lines)
    assert "as papers do" in lines[-1]


def test_batches_are_few_and_in_another_order(cache):
    cycle = Cycle(cache, 3)
    seen = [cycle.batch(step, 1, 16, seed=1)[0] for step in range(6)]
    keys = [tuple(b.flatten()[:50].tolist()) for b in seen]
    assert set(keys[:3]) == set(keys[3:]) and len(set(keys)) == 3
    other = {tuple(cycle.batch(s, 1, 16, seed=2)[0].flatten()[:50].tolist()) for s in range(3)}
    assert other == set(keys)


def test_all_strategies_start_where_plain_training_does(cache, tmp_path):
    given = Teacher(teacher(), 2, remember=3)
    for strategy, factor in ((PLAIN, 1.0), ("output", 0.0)):
        network = learn(strategy, factor, 0, SETUP, Cycle(cache, 3), given, tmp_path)
        state = torch.cat([v.flatten() for v in network.module.state_dict().values()])
        if strategy == PLAIN:
            plain = state
    # Of weight 0, so that nothing but start, batches and order could tell them apart.
    assert torch.equal(plain, state)


def test_a_stopped_command_goes_on(cache, tmp_path, monkeypatch):
    out, sets = tmp_path / "r.json", {"toy": PsnrOn(cache.held_out() or [pair(cache)], 2)}
    calls = []
    real = distillation.learn

    def counted(strategy, factor, seed, *rest):
        calls.append((strategy, factor, seed))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(strategy, factor, seed, *rest)

    monkeypatch.setattr(distillation, "learn", counted)
    arguments = (["output"], [1.0], [0], SETUP, teacher(), cache, sets, tmp_path / "w", out)
    with pytest.raises(KeyboardInterrupt):
        run(*arguments)
    assert [r["strategy"] for r in json.loads(out.read_text())["rows"]] == [PLAIN]
    run(*arguments)
    assert calls == [(PLAIN, 1.0, 0), ("output", 1.0, 0), ("output", 1.0, 0)]
    other = Setup(first_steps=3, steps=9, batch=2, patch=16, batches=3)
    with pytest.raises(UsageError, match="was measured with another setup"):
        run(*arguments[:3], other, *arguments[4:])


def pair(cache):
    lr, hr = cache._whole(0)
    return np.array(lr), np.array(hr)

"""Steps per second of training: what is timed, what is left out, what the table says."""

import itertools
import json

import pytest
import torch
from edgesr.benchmarks import training
from edgesr.benchmarks.training import LEFT_OUT, VARIANTS, Stamped, markdown, run, turn

from edgesr.errors import UsageError
from edgesr.models import create
from edgesr.train.engine import Engine
from edgesr.train.loop import Schedule, train

SCHEDULE = Schedule(steps=8, batch=2, patch=8, warm_up=0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Noise:
    """The same batch over and over, channels last as `PatchCache` cuts them."""

    def batch(self, step, size, patch, seed=0):
        lr = torch.rand(size, patch, patch, 3, generator=torch.Generator().manual_seed(0))
        lr = lr.permute(0, 3, 1, 2)
        return lr, torch.nn.functional.interpolate(lr, scale_factor=2)


def test_the_first_steps_are_left_out(monkeypatch):
    """Of 8 steps at 0, 10, 11 ... seconds, the slow first one shows apart."""
    ticks = itertools.chain([0.0], itertools.count(10.0, 0.5))
    monkeypatch.setattr(training, "perf_counter", lambda: next(ticks))
    found = turn("plain-s-x2", Engine("cpu"), Noise(), SCHEDULE)
    assert found.rate == pytest.approx(2.0) and found.first == 10.0
    assert 0 <= found.waiting <= 1


def test_channels_first_is_what_it_says(tmp_path):
    seen = {}
    for last in (True, False):

        def objective(student, lr, hr, done, last=last):
            weight = student.module.tail.square.weight
            layout = torch.channels_last if last else torch.contiguous_format
            other = torch.contiguous_format if last else torch.channels_last
            for tensor in (lr, hr, weight):
                assert tensor.is_contiguous(memory_format=layout)
                assert not tensor.is_contiguous(memory_format=other)
            return (student(lr) - hr).abs().mean()

        torch.manual_seed(0)
        out = tmp_path / str(last)
        engine = Engine("cpu", precision="fp32", channels_last=last)
        found = train(
            create("plain-s-x2"), Noise(), out, SCHEDULE, objective=objective, engine=engine
        )
        seen[last] = torch.cat([p.flatten() for p in found.parameters()])
    torch.testing.assert_close(seen[True], seen[False], rtol=1e-3, atol=1e-5)


def test_variants_take_turns_and_one_that_fails_is_named(monkeypatch):
    calls = []

    def pretended(network, engine, patches, schedule):
        calls.append(engine)
        if engine.compile:
            raise RuntimeError("no C++ compiler: /a/path\nmore")
        return training.Turn(4.0 if engine.workers else 3.0, 0.25, 1.5)

    monkeypatch.setattr(training, "turn", pretended)
    document = run("plain-s-x2", Noise(), SCHEDULE, 2)
    usual = list(VARIANTS.values())
    assert calls == [*usual, *(e for e in usual if not e.compile)]
    text = markdown(json.loads(json.dumps(document)))
    assert "| no worker | 3.00 | x 0.75 | 25% | 1.5 |" in text
    assert "| compiled | failed: no C++ compiler |" in text
    assert "2 patches of 8x8, 1 thread(s)" in text and "median of 2 turns" in text


def test_one_choice_is_changed_at_a_time():
    usual, *others = VARIANTS.values()
    for engine in others:
        changed = [k for k, v in vars(engine).items() if v != getattr(usual, k)]
        assert len(changed) == 1


def test_too_few_steps_give_no_rate():
    with pytest.raises(UsageError, match=f"at least {LEFT_OUT + 3}"):
        run("plain-s-x2", Noise(), Schedule(steps=LEFT_OUT + 2), 1)


def test_an_objective_is_stamped():
    stamped = Stamped(lambda student, lr, hr, done: lr.sum())
    stamped(None, torch.ones(1), None, 0.0)
    assert len(stamped.at) == 1


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "VARIANTS", {"usual": Engine("cpu")})
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # the command sets it; put it back
    out, page = tmp_path / "t.json", tmp_path / "page.md"
    page.write_text("<!-- begin training -->\n<!-- end training -->\n")
    command = ["--network", "plain-s-x2", "--steps", "7", "--rounds", "1", "--batch", "1"]
    command += ["--patch", "16", "--threads", "1", "--out", str(out), "--page", str(page)]
    assert training.main(command) == 0
    assert "| usual |" in page.read_text() and "x 1.00" in capsys.readouterr().out
    assert training.main(["--steps", "3", "--rounds", "1", "--out", str(out)]) == 2

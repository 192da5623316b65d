"""Contenders in processes of their own: cold, in turns, and one that dies is the only one lost."""

import os
import signal

import pytest
from edgesr.benchmarks import cpu, timed_process
from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.entrants import line_up
from edgesr.benchmarks.harness import LostError, Plan
from edgesr.benchmarks.timed_process import TimedProcess, open_process

from edgesr.errors import BadFileError

PLAN = Plan(runs=2, warm_up=0, turn=1, processes=2)
ONCE = Plan(runs=2, warm_up=0, turn=1, processes=1)


def small(*models):
    return line_up(models, shape=(8, 12))


def test_every_process_gives_samples_phases_and_memory():
    entrants = small("plain-s-x2")
    (row,) = (result := bench(entrants, PLAN)).rows
    assert row.by_process == (2, 2) and len(row.samples) == 4
    # An interpreter cannot start, nor torch be imported, within a millisecond.
    assert row.phases["start"] > 1 and row.phases["import"] > 1
    assert set(row.phases) == {"start", "import", "load", "first", "preprocess", "postprocess"}
    assert row.memory.peak_mb >= row.memory.before_mb > 0
    assert result.peaks and all(len(p.samples) == 4 for p in result.peaks)
    assert result.copy_for(row).rate > 0


def test_a_killed_child_loses_its_own_row(monkeypatch):
    """The first of two is killed when all are open; the other has all its samples."""
    opened = []

    def open_and_remember(entrant):
        opened.append(open_process(entrant))
        if len(opened) == 2:
            os.kill(opened[0].pid, signal.SIGKILL)
        return opened[-1]

    monkeypatch.setattr(cpu, "open_process", open_and_remember)
    lost = []
    result = bench(
        small("plain-s-x2", "plain-s-x3"), ONCE, lost=lambda who, why: lost.append((who, why))
    )
    assert [row.artifact for row in result.rows] == ["plain-s-x3"]
    assert len(result.rows[0].samples) == 2
    ((who, why),) = lost
    assert who.model == "plain-s-x2" and "signal 9" in str(why)


def test_what_fails_to_open_is_the_same_error_as_here(tmp_path):
    (entrant,) = line_up([str(tmp_path / "none.tflite")])
    with pytest.raises(BadFileError, match=r"none\.tflite"):
        bench([entrant], ONCE)
    lost = []
    result = bench([entrant], ONCE, lost=lambda who, why: lost.append(why))
    assert result.rows == [] and isinstance(lost[0], BadFileError)


def test_a_child_that_hangs_is_given_up(monkeypatch):
    process = TimedProcess("sleeper", {"ceilings": [("fp32", 1, 8)]})
    monkeypatch.setattr(process, "_timeout", 0.2)
    with pytest.raises(LostError, match="more than 0 s"):
        process.take(0, 0, 10**9)
    process.close()


def test_a_child_that_says_nonsense_is_quoted(monkeypatch):
    monkeypatch.setattr(timed_process.sys, "executable", "/bin/sh")
    with pytest.raises(LostError, match="the process of x ended with code"):
        TimedProcess("x", {})

"""A suite that is killed leaves nobody behind, and goes on where it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgesr.benchmarks.suite.result import read_suite

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc: Linux only"
)
SOON = 5.0
"""Seconds in which everybody must be gone; tenths of one on an idle machine. Turns last minutes."""


@pytest.fixture(autouse=True)
def interruptible():
    """What was started in the background ignores Ctrl-C, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def suite(folder, runs):
    file = folder / "trial.toml"
    file.write_text(f"""
name = "trial"
[plan]
runs = {runs}
warm-up = 0
processes = 1
[[part]]
networks = ["quicksrnet-small-x2"]
targets = ["tflite"]
precisions = ["fp32"]
shapes = ["16x24"]
""")
    edgesr = [sys.executable, "-c", "from edgesr.cli import main; main()"]
    return [*edgesr, "bench", "--suite", str(file), "--out", str(folder)]


def descendants(pid):
    """Process ids below this one, with their command lines."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                parents[int(folder.name)] = int(parent), command
        except OSError:  # ended meanwhile
            continue
    found = {pid: ""}
    for _ in range(4):
        found |= {child: line for child, (parent, line) in parents.items() if parent in found}
    return {child: line for child, line in found.items() if child != pid}


def alive(pids):
    def lives(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return [pid for pid in pids if lives(pid)]


def wait_for(word, process, log):
    """The descendants, once one has `word` in its command line."""
    for _ in range(1200):
        found = descendants(process.pid)
        if any(word in line for line in found.values()):
            return found
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"no {word} within a minute: {log.read_text()}")


def end(process, name, pids):
    """Send the signal; which of the children are still there after `SOON`."""
    process.send_signal(getattr(signal, name))
    until = time.monotonic() + SOON
    while time.monotonic() < until and alive(pids):
        time.sleep(0.02)
    left = alive(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    return left


POOL = """
from edgesr.benchmarks.suite.pool import Job, LocalPool
import os, sys, time
def sleep():
    print(os.getpid(), flush=True)
    time.sleep(60)
if __name__ == "__main__":
    list(LocalPool(2).run([Job("a", sleep), Job("b", sleep)]))
"""
TURN = """
from edgesr.benchmarks.timed_process import TimedProcess
if __name__ == "__main__":
    children = [TimedProcess("a turn", {"ceilings": [("fp32", 1, 8)]}) for _ in range(2)]
    for child in children:
        print(child.pid, flush=True)
    try:
        children[0].take(0, 0, 10**9)
    finally:
        for child in children:
            child.close()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
@pytest.mark.parametrize("script", [POOL, TURN], ids=["pool", "turn"])
def test_no_child_outlives_its_parent(script, name, tmp_path):
    """Workers, which are children of a fork server; children in the middle of a turn."""
    (tmp_path / "parent.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    children = [int(process.stdout.readline()) for _ in range(2)]
    assert set(children) <= set(descendants(process.pid))
    assert end(process, name, children) == []


def test_a_suite_that_was_killed_goes_on(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            suite(tmp_path, 10**6), stdout=stream, stderr=stream, cwd=tmp_path
        )
    family = wait_for("timed_child", process, log)
    assert end(process, "SIGKILL", family) == []
    written = {file: file.stat().st_mtime_ns for file in tmp_path.glob("artifacts/**/*.*")}
    assert len(written) >= 2
    subprocess.run(suite(tmp_path, 2), check=True, capture_output=True, cwd=tmp_path)
    assert {file: file.stat().st_mtime_ns for file in written} == written, "exported once"
    assert len(list(read_suite(tmp_path / "results.json").rows())) == 1

"""An export that cannot finish says why and leaves nothing behind."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

EXPORT = [
    sys.executable, "-c", "from edgesr.cli import main; main()",
    "export", "plain-m-x3", "--target", "tflite", "--precision", "int8", "--shape", "48x64",
]  # fmt: skip


def run(*arguments, **kwargs):
    return subprocess.run(
        [*EXPORT, *map(str, arguments)], capture_output=True, text=True, timeout=120, **kwargs
    )


def left_over(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_nothing_is_overwritten_without_force(tmp_path):
    assert run("--out", tmp_path).returncode == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    again = run("--out", tmp_path)
    assert again.returncode == 8 and "--force" in again.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert run("--out", tmp_path, "--force").returncode == 0


def test_output_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run("--out", tmp_path / "file" / "folder")
    assert result.returncode == 9 and "cannot write" in result.stderr
    assert left_over(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_read_only_output_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        result = run("--out", tmp_path)
    finally:
        tmp_path.chmod(0o700)
    assert result.returncode == 9 and "cannot write" in result.stderr


def test_disk_full(tmp_path):
    """A limit on file size stands in for a full disk: both fail in the middle of a write."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    result = run(
        "--out", tmp_path, preexec_fn=limit, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert result.returncode == 9, result.stderr
    assert "Traceback" not in result.stderr and "cannot write" in result.stderr
    assert left_over(tmp_path) == []


def test_interrupt(tmp_path):
    process = subprocess.Popen(
        [*EXPORT, "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        # A suite started in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not left_over(tmp_path) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "stopped" in errors
    assert left_over(tmp_path) == []


def test_an_interrupt_that_a_destructor_met_is_not_lost():
    program = """
import time
from edgesr import cli

class Dying:
    def __del__(self):
        raise KeyboardInterrupt

def app():
    try:
        Dying()
        time.sleep(30)
    except KeyboardInterrupt:
        raise SystemExit(130)

cli.app = app
cli.main()
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert result.returncode == 130 and "stopped" in result.stderr
    assert "Traceback" not in result.stderr


def test_calibration_folder_without_images(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("--out", tmp_path / "out", "--calibration", tmp_path / "empty")
    assert result.returncode == 3 and "empty" in result.stderr
    assert not (tmp_path / "out").exists() or left_over(tmp_path / "out") == []

"""Run a script that knows nothing of edgesr in the interpreter of a tool.

It reads a job (JSON, its only argument), writes arrays as files and answers with one line of JSON,
the last.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesr.export.compile.report import DeviceError

from edgesr.lifeline import tied

TIMEOUT = 600.0
"""Seconds; emulators of NPUs take minutes for a whole frame."""


def call(
    device: str,
    python: Path,
    script: Path,
    job: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    *,
    timeout: float = TIMEOUT,
) -> tuple[dict[str, Any], str]:
    """Run a script in an environment of its own.

    Returns:
        The JSON object on the last line of its output, and what it wrote to standard error.

    Raises:
        DeviceError: it failed, was killed, took too long, or answered something else.
    """
    # -P: a file beside the script may be called like the package that it means.
    command = [str(python), "-P", str(script), json.dumps(job)]
    try:
        done = subprocess.run(
            tied(command), capture_output=True, text=True, timeout=timeout, check=False,
            errors="replace", env={**os.environ, **(environment or {})},
            cwd=job.get("scratch"),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{device} did not finish within {timeout:.0f} s") from None
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    try:
        answer = json.loads(lines[-1])
        if done.returncode or not isinstance(answer, dict):
            raise ValueError
    except (IndexError, ValueError):
        raise DeviceError(f"{device} failed: {last_words(done.stderr, done.returncode)}") from None
    return answer, done.stderr


def last_words(text: str, code: int) -> str:
    """The line that says most about why a process died."""
    if code < 0:
        return f"it was killed by signal {-code}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line or "FAIL" in line]
    return (errors or lines or [f"exit code {code}, and no word why"])[-1][:300]

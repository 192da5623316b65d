"""The app as the runner on a phone: `--device adb --runner app`.

An app in the foreground gets what a shell does not: the fast cores, the GPU, NNAPI, a battery
manager that leaves it alone. `am start` names the model and the work; the app leaves a JSON and the
raw golden output in its folder of the shared storage.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices.android import TIMEOUT, Android
from edgesr.benchmarks.devices.device import DeviceError, Payload, Placement, Run, Work, check_file
from edgesr.benchmarks.devices.runner_output import read_runner

from edgesr.errors import UsageError
from edgesr.manifest import manifest_path

PACKAGE = "dev.edgesr.app"
MODELS = "/data/local/tmp/edgesr/models"
"""Where the app looks for models that were pushed; every app may read there."""
READABLE = f"chmod 755 {MODELS.rpartition('/')[0]} {MODELS}; chmod 644 {MODELS}/*"
RESULTS = f"/sdcard/Android/data/{PACKAGE}/files/bench"
"""Where it leaves results; adb may read there."""

BACKENDS = ("cpu", "gpu", "npu", "nnapi")


def check_backend(name: str) -> str:
    """The name, if the app knows it.

    Raises:
        UsageError: it does not.
    """
    if name not in BACKENDS:
        raise UsageError(
            f"no backend of the app is called `{name}`; there are {', '.join(BACKENDS)}"
        )
    return name


class AndroidApp(Android):
    """One phone with the app on it."""

    suffixes = (".tflite", ".onnx")

    def __init__(self, choice: str, backend: str = "cpu", **options: Any) -> None:
        super().__init__(choice, **options)
        self._backend = backend

    def _check_runner(self, abi: str) -> None:
        """Any processor the app was built for will do; it must be installed."""
        if PACKAGE not in self._adb.shell(f"pm path {PACKAGE}", check=False):
            raise DeviceError(
                f"the app is not on {self._adb.serial}: edgesr android build, then "
                "edgesr android install"
            )

    def push(self, payload: Payload) -> None:
        """See `Device.push`: the model and its manifest, where the app finds them."""
        check_file(self.name, payload, self.suffixes)
        if not self._facts:
            self.probe()
        if not self._pushed:
            self._adb.shell(f"mkdir -p {MODELS}")
            self._steady()
        name = self._model(payload)
        if name not in self._pushed:
            self._pushed.add(name)
            self._adb.push(payload.artifact, f"{MODELS}/{name}")
            self._adb.push(manifest_path(payload.artifact), f"{MODELS}/{name}.json")
            self._adb.shell(READABLE)
        self._payload, self._output = payload, None

    def run(self, work: Work) -> Run:
        """See `Device.run`: a fresh process of the app, once the phone is cool."""
        assert self._payload is not None
        self._wait_until_cool()
        name = f"r{uuid.uuid4().hex[:12]}"
        extras = {
            "model": self._model(self._payload), "id": name, "backend": self._backend,
            "threads": work.threads, "runs": work.runs, "warm_up": work.warm_up, "strict": "true",
        }  # fmt: skip
        words = " ".join(f"--es {key} {shlex.quote(str(value))}" for key, value in extras.items())
        started = self._adb.shell(f"am start -S -W -n {PACKAGE}/.BenchActivity {words}")
        if "Error" in started:
            raise DeviceError(f"{self._adb.serial} does not start the app: {_line(started)}")
        try:
            return self._read(self._await(name), name)
        finally:
            # Best effort, as the model's own removal in `close`.
            self._adb.shell(f"rm -f {RESULTS}/{name}.json {RESULTS}/{name}.bin", check=False)

    def close(self) -> None:
        """See `Device.close`. Models that were brought for this benchmark go, the user's stay."""
        for name in self._pushed:
            self._undo.append(f"rm -f {MODELS}/{name} {MODELS}/{name}.json")
        super().close()

    def _model(self, payload: Payload) -> str:
        """Never the name of a model that the user has pushed, nor one of another content."""
        return f"bench-{payload.manifest.sha256[:16] or 'model'}{payload.artifact.suffix}"

    def _await(self, name: str) -> str:
        """The JSON, once it is there; the app may be killed by the system in the meantime."""
        file = f"{RESULTS}/{name}.json"
        text = self._adb.shell(
            f"n=0; while [ ! -f {file} ] && [ $n -lt {TIMEOUT:.0f} ]; do sleep 1; n=$((n+1)); "
            f"pidof {PACKAGE} >/dev/null || [ -f {file} ] || break; done; cat {file} 2>/dev/null",
            timeout=TIMEOUT + 60, check=False,
        )  # fmt: skip
        if not text.strip():
            raise DeviceError(
                f"the app on {self._adb.serial} ended without a result: "
                "`adb logcat -d -s edgesr AndroidRuntime` has its last words"
            )
        return text

    def _read(self, text: str, name: str) -> Run:
        start = text.find("{")
        try:
            told = json.loads(text[start:]) if start >= 0 else {}
        except ValueError:
            told = {}
        if "error" in told:
            raise DeviceError(f"the app on {self._adb.serial}: {told['error']}")
        answer = read_runner(text, self._adb.serial)
        assert self._payload is not None
        with tempfile.TemporaryDirectory(prefix="edgesr-adb-") as scratch:
            local = Path(scratch) / "out.bin"
            self._adb.pull(f"{RESULTS}/{name}.bin", local)
            self._output = np.fromfile(local, self._payload.manifest.dtype)
        facts = {
            "init_ms": answer.init_ms, "first_ms": answer.first_ms,
            "peak_rss_kb": answer.peak_rss_kb, "app": told.get("facts", {}),
        }  # fmt: skip
        full = told.get("full")
        return self._label(
            f"app, {told.get('runtime', 'unknown')}", "the app's", answer.samples,
            str(told.get("backend", "")).upper(), facts=facts,
            placement=Placement(full=full if isinstance(full, bool) else None),
        )  # fmt: skip


def _line(text: str) -> str:
    return next(line.strip() for line in text.splitlines() if "Error" in line)[:300]

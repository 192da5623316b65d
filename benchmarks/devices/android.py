"""Android phones over adb: `--device adb` (the only one) or `adb:SERIAL`.

A `benchmark_model` of the user's (`--tool`) comes first; without one our runner over the LiteRT C
API goes there with the libraries it needs, processor only. Every process starts cool: no thermal
status, battery below 35 °C. The fastest cores are asked for, the screen stays on, and what was
changed or copied is undone at the end.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices import benchmark_model, bundle, phone_state
from edgesr.benchmarks.devices.adb import Adb
from edgesr.benchmarks.devices.device import (
    DeviceError,
    Payload,
    Placement,
    Run,
    Work,
    check_file,
)
from edgesr.benchmarks.devices.runner_output import read_runner

from edgesr.errors import BadFileError
from edgesr.runtime.pixels import Array

COOL_DOWN = 180.0
"""Seconds to wait for a phone to cool; then the run goes on, and the result says `throttled`."""
PAUSE = 5.0
TIMEOUT = 600.0


class Android:
    """One phone."""

    suffixes: tuple[str, ...] = (".tflite",)
    processes = 3

    def __init__(
        self,
        choice: str,
        tool: Path | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        cool_down: float = COOL_DOWN,
    ) -> None:
        if tool is not None and not tool.is_file():
            raise BadFileError(f"no such tool: {tool}")
        self.name = f"adb:{choice}" if choice else "adb"
        self._adb, self._tool, self._sleep = Adb(choice), tool, sleep
        self._cool_down = cool_down
        self._folder = f"/data/local/tmp/edgesr-{os.getpid()}"
        self._facts: dict[str, str] = {}
        self._pushed: set[str] = set()
        self._undo: list[str] = []
        self._payload: Payload | None = None
        self._output: Array | None = None
        self._flavour: benchmark_model.Flavour | None = None
        self._mask: dict[int, str] = {}

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        self._facts = phone_state.read_facts(self._adb.shell(phone_state.FACTS))
        if not self._facts.get("abi"):
            raise DeviceError(f"{self._adb.serial} does not say what it is (getprop is silent)")
        self._check_runner(self._facts["abi"])
        # A serial names one person's phone; results are for showing around.
        unit = hashlib.sha256(self._adb.serial.encode()).hexdigest()[:6]
        self.name = f"adb:{self._facts.get('model', 'phone')}#{unit}"
        return {**self._facts, "emulated": phone_state.is_emulated(self._facts)}

    def _check_runner(self, abi: str) -> None:
        if not self._tool and not abi.startswith("arm64"):
            raise DeviceError(
                f"{self._adb.serial} is {abi}, and our runner is arm64; give a benchmark_model for "
                "it with --tool, or let the app run it with --runner app"
            )

    def push(self, payload: Payload) -> None:
        """See `Device.push`. What is there already is not copied again."""
        check_file(self.name, payload, self.suffixes)
        if not self._facts:
            self.probe()
        if not self._pushed:
            self._prepare()
        model = self._model(payload)
        if model not in self._pushed:
            self._adb.push(payload.artifact, f"{self._folder}/{model}")
            self._pushed.add(model)
        with tempfile.TemporaryDirectory(prefix="edgesr-adb-") as scratch:
            golden = Path(scratch) / "in.bin"
            payload.golden.tofile(golden)
            self._adb.push(golden, f"{self._folder}/in.bin")
        self._payload, self._output = payload, None

    def run(self, work: Work) -> Run:
        """See `Device.run`: one process on the phone, once it is cool."""
        assert self._payload is not None
        self._wait_until_cool()
        pin = self._pin(work.threads)
        if self._tool is None:
            return self._run_ours(self._payload, work, pin)
        return self._run_theirs(self._payload, work, pin)

    def pull(self) -> Array | None:
        """See `Device.pull`."""
        return self._output

    def snapshot(self) -> dict[str, Any]:
        """See `Device.snapshot`."""
        return phone_state.read_state(self._adb.shell(phone_state.STATE, check=False))

    def close(self) -> None:
        """See `Device.close`."""
        if not self._pushed and not self._undo:
            return
        try:
            for command in [*self._undo, f"rm -rf {self._folder}"]:
                self._adb.shell(command, check=False)
        except DeviceError:
            pass  # unplugged: it will forget by itself
        self._pushed, self._undo = set(), []

    def _prepare(self) -> None:
        """Copy the runner, keep the screen on, ask for a steady clock where that can be had."""
        self._adb.shell(f"mkdir -p {self._folder}")
        self._pushed.add("")
        if self._tool is None:
            self._adb.push(bundle.arm64_bundle(), f"{self._folder}/runner")
            programs = (
                f"{self._folder}/runner/{bundle.LOADER} {self._folder}/runner/{bundle.RUNNER}"
            )
        else:
            programs = f"{self._folder}/benchmark_model"
            self._adb.push(self._tool, programs)
        self._adb.shell(f"chmod 755 {programs}")
        self._steady()

    def _steady(self) -> None:
        self._adb.shell("svc power stayon true 2>/dev/null", check=False)
        self._undo.append("svc power stayon false 2>/dev/null")
        steady = "cmd power set-fixed-performance-mode-enabled"
        if "success" in self._adb.shell(f"{steady} true 2>/dev/null", check=False).lower():
            self._undo.append(f"{steady} false")

    def _model(self, payload: Payload) -> str:
        return f"{payload.manifest.sha256[:16] or 'model'}.tflite"

    def _wait_until_cool(self) -> None:
        waited = 0.0
        while not phone_state.is_cool(self.snapshot()) and waited < self._cool_down:
            self._sleep(PAUSE)
            waited += PAUSE

    def _pin(self, threads: int) -> str:
        """`taskset MASK ` for the fastest cores, where the phone has it and tells its cores."""
        if threads not in self._mask:
            cores = phone_state.read_cores(self._adb.shell(phone_state.CORES, check=False))
            mask = phone_state.fastest_mask(cores, threads)
            works = mask and "ok" in self._adb.shell(f"taskset {mask} echo ok", check=False)
            self._mask[threads] = f"taskset {mask} " if works else ""
        return self._mask[threads]

    def _run_ours(self, payload: Payload, work: Work, pin: str) -> Run:
        model, out = f"{self._folder}/{self._model(payload)}", f"{self._folder}/out.bin"
        command = [
            *bundle.command(f"{self._folder}/runner"), f"--model={model}",
            f"--in={self._folder}/in.bin", f"--out={out}", f"--runs={work.runs}",
            f"--warmup={work.warm_up}", f"--threads={work.threads}",
        ]  # fmt: skip
        text = self._adb.shell(pin + shlex.join(command), timeout=TIMEOUT)
        answer = read_runner(text, self._adb.serial)
        self._output = self._fetch(out, payload)
        facts = {"init_ms": answer.init_ms, "first_ms": answer.first_ms,
                 "peak_rss_kb": answer.peak_rss_kb, "pinned": pin.strip()}  # fmt: skip
        return self._label(
            "edgesr_run", version("ai-edge-litert"), answer.samples, "XNNPACK",
            facts=facts, placement=Placement.of(None, ()),
        )  # fmt: skip

    def _run_theirs(self, payload: Payload, work: Work, pin: str) -> Run:
        tool = f"{self._folder}/benchmark_model"
        if self._flavour is None:
            help_text = self._adb.shell(f"{tool} --help", check=False)
            self._flavour = benchmark_model.flavour_of(help_text)
        model = f"{self._folder}/{self._model(payload)}"
        command = [tool, *benchmark_model.flags(self._flavour, model, work)]
        text = self._adb.shell(pin + shlex.join(command), timeout=TIMEOUT)
        answer = benchmark_model.read_benchmark(text, self._adb.serial)
        kind = "median" if answer.median_ms is not None else "average"
        notes = (
            f"{self.name}: each sample is the {kind} of {answer.runs} runs in a process of its own",
        )
        facts = {"init_ms": answer.init_ms, "first_ms": answer.first_ms,
                 "peak_mb": answer.peak_mb, "pinned": pin.strip()}  # fmt: skip
        return self._label(
            f"benchmark_model ({answer.flavour})", "the user's", (answer.figure,), "CPU",
            facts=facts, placement=answer.placement, notes=notes,
        )  # fmt: skip

    def _label(
        self,
        runtime: str,
        release: str,
        samples: tuple[float, ...],
        delegate: str,
        *,
        facts: dict[str, Any],
        placement: Placement,
        notes: tuple[str, ...] = (),
    ) -> Run:
        """An emulated phone gives pixels and no latency, however well it hides."""
        emulated = phone_state.is_emulated(self._facts)
        if emulated:
            notes = (f"{self.name} is emulated; there is no latency",)
        return Run(
            label="emulated" if emulated else "measured",
            runtime=runtime,
            version=release,
            samples=() if emulated else samples,
            delegate=delegate,
            placement=placement,
            notes=notes,
            facts=facts,
        )

    def _fetch(self, path: str, payload: Payload) -> Array:
        with tempfile.TemporaryDirectory(prefix="edgesr-adb-") as scratch:
            local = Path(scratch) / "out.bin"
            self._adb.pull(path, local)
            return np.fromfile(local, payload.manifest.dtype)

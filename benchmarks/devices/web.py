"""Browsers: `web:wasm` and `web:webgpu` in headless Chromium, or any phone's own browser.

TFLite files run in LiteRT.js, ONNX files in onnxruntime-web. The page is the same whether Chromium
opens it here or a phone does at the address that `--serve` prints. A graphics adapter in software
gives pixels and no latency.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.device import (
    DeviceError,
    Payload,
    Placement,
    Run,
    Work,
    check_file,
)
from edgesr.benchmarks.devices.tools import WEB
from edgesr.benchmarks.devices.web_server import BenchServer, Job

from edgesr.lifeline import tied
from edgesr.runtime.pixels import Array

ACCELERATORS = ("wasm", "webgpu")
INSTALL = "apt-get install chromium"
TIMEOUT = 600.0
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ALWAYS = (
    "--headless=new", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-background-timer-throttling",
)  # fmt: skip
_SOFTWARE = (
    "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan",
    "--use-vulkan=swiftshader", "--use-angle=swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
_HARDWARE = ("--enable-unsafe-webgpu", "--enable-features=Vulkan")


class Web:
    """Headless Chromium on this machine."""

    suffixes = (".tflite", ".onnx")
    processes = 1

    def __init__(self, choice: str) -> None:
        self.name = f"web:{choice}"
        self._accelerator = choice
        self._payload: Payload | None = None
        self._output: Array | None = None

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        browser = find_browser()
        WEB.require()
        done = subprocess.run(
            [browser, "--version"], capture_output=True, text=True, check=False, timeout=60
        )
        found = re.search(r"[\d.]+", done.stdout)
        return {"browser": f"Chromium {found.group() if found else ''}", **WEB.versions}

    def push(self, payload: Payload) -> None:
        """See `Device.push`."""
        check_for_browser(self.name, payload)
        self._payload, self._output = payload, None

    def run(self, work: Work) -> Run:
        """See `Device.run`: a fresh browser per run."""
        assert self._payload is not None
        job = Job(self._payload, self._accelerator, work)
        with BenchServer([job], WEB.require()) as server:
            open_headless(server, self._accelerator, self.name)
        self._output = job.output
        return run_of(job, self.name)

    def pull(self) -> Array | None:
        """See `Device.pull`."""
        return self._output

    def snapshot(self) -> dict[str, Any]:
        """See `Device.snapshot`."""
        return {}

    def close(self) -> None:
        """See `Device.close`."""


def check_for_browser(device: str, payload: Payload) -> None:
    """Refuse what browsers cannot feed: LiteRT.js has no int8 tensors.

    Raises:
        BadFileError: another kind of file or element type.
    """
    kinds = "uint8,float32" if payload.artifact.suffix == ".tflite" else "uint8,int8,float32"
    check_file(device, payload, Web.suffixes, kinds)


def find_browser() -> str:
    """Path of a Chromium.

    Raises:
        DeviceError: none is installed.
    """
    for name in _BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    raise DeviceError(f"no Chromium: {INSTALL}")


def open_headless(server: BenchServer, accelerator: str, device: str) -> None:
    """Let headless Chromium open the page and wait for its results.

    Raises:
        DeviceError: it died, or took too long.
    """
    flags = list(_ALWAYS)
    if accelerator == "webgpu":
        graphics = Path("/dev/dri").exists() or Path("/dev/nvidia0").exists()
        flags += _HARDWARE if graphics else _SOFTWARE
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium's refuses to work for root
    with tempfile.TemporaryDirectory(prefix="edgesr-web-", ignore_cleanup_errors=True) as profile:
        log = Path(profile) / "log"
        with log.open("wb") as stream:
            flags += [f"--user-data-dir={profile}", f"{server.address}?auto"]
            browser = subprocess.Popen(
                tied([find_browser(), *flags]),
                stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                _watch(server, browser, log, device)
            finally:
                browser.terminate()
                try:
                    browser.wait(10)
                except subprocess.TimeoutExpired:
                    browser.kill()
                    browser.wait()


def _watch(server: BenchServer, browser: subprocess.Popen[bytes], log: Path, device: str) -> None:
    for _ in range(int(TIMEOUT)):
        if server.wait(1.0):
            return
        if browser.poll() is not None:
            words = log.read_text(errors="replace").strip().splitlines() or ["no word why"]
            raise DeviceError(f"{device}: Chromium died: {words[-1][:300]}")
    raise DeviceError(f"{device} did not finish within {TIMEOUT:.0f} s")


def run_of(job: Job, device: str) -> Run:
    """What a page's answer means; it is a stranger's word, so everything is checked.

    Raises:
        DeviceError: it says that it failed, or makes no sense.
    """
    answer = job.result or {}
    if answer.get("error"):
        raise DeviceError(f"{device}: {str(answer['error'])[:300]}")
    samples = answer.get("samples")
    if not isinstance(samples, list) or len(samples) != job.work.runs:
        raise DeviceError(f"{device} posted no {job.work.runs} samples")
    if not all(isinstance(s, (int, float)) and 0 <= s < math.inf for s in samples):
        raise DeviceError(f"{device} posted samples that are no times")
    if sorted(samples)[len(samples) // 2] == 0:
        raise DeviceError(f"{device}: the browser's clock is too coarse for this model")
    adapter = answer.get("adapter") if isinstance(answer.get("adapter"), dict) else {}
    software = job.accelerator == "webgpu" and (
        not adapter or bool(adapter.get("fallback")) or adapter.get("architecture") == "swiftshader"
    )
    facts = {
        "user_agent": str(answer.get("user_agent", ""))[:300],
        "isolated": bool(answer.get("isolated")),
        "adapter": json.loads(json.dumps(adapter)[:2000]) if adapter else None,
        **{k: answer[k] for k in ("init_ms", "first_ms", "cores")
           if isinstance(answer.get(k), (int, float))},
    }  # fmt: skip
    notes: tuple[str, ...] = ()
    if software:
        notes = (f"{device}: the graphics adapter is software; there is no latency",)
    elif job.work.threads > 1 and not facts["isolated"]:
        notes = (f"{device}: the page got one thread, not {job.work.threads}: its address is "
                 "neither https nor localhost",)  # fmt: skip
    package = "@litertjs/core" if job.runtime == "litert" else "onnxruntime-web"
    return Run(
        label="software" if software else "measured",
        runtime=f"{job.runtime} in a browser" if job.runtime == "litert" else job.runtime,
        version=WEB.versions.get(package, ""),
        samples=() if software else tuple(float(sample) for sample in samples),
        delegate=job.accelerator,
        placement=Placement.of(None, ()) if job.accelerator == "wasm" else Placement(),
        notes=notes,
        facts=facts,
    )

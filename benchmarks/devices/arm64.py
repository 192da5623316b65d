"""Emulated arm64 cores: does the int8 file give the same pixels on a phone's instructions?

`--device arm64` or `arm64:cortex-a53`. qemu's user mode runs our runner and LiteRT's aarch64
library, so XNNPACK takes its NEON kernels, with dot products (a76) or without (a53). Emulated time
is 200 to 800 times too long and says nothing about a phone: there is none by construction.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices import bundle
from edgesr.benchmarks.devices.device import DeviceError, Payload, Placement, Run, Work, check_file
from edgesr.benchmarks.devices.runner_output import read_runner
from edgesr.export.compile.child import last_words

from edgesr.lifeline import tied
from edgesr.runtime.pixels import Array

INSTALL = "apt-get install qemu-user (10 or newer is best)"
TIMEOUT = 600.0
_SOUND = 10
"""First release of qemu seen to emulate all instructions of `max` correctly; 7.2 does not."""

_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm{dot}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: {part}
CPU revision\t: 1

"""
"""LiteRT reads /proc/cpuinfo; qemu before 10 hands it this machine's, and it crashes."""

_PARTS = {"cortex-a76": ("0xd0b", " asimddp"), "cortex-a53": ("0xd03", ""), "max": ("0xd0b", "")}


class Arm64:
    """One emulated core."""

    suffixes = (".tflite",)
    processes = 1

    def __init__(self, choice: str) -> None:
        self.name = f"arm64:{choice}"
        self._core = choice
        self._payload: Payload | None = None
        self._output: Array | None = None

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        qemu = _qemu()
        done = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"version (\d+)\.(\d+)", done.stdout)
        bundle.find_compiler()
        release = ".".join(found.groups()) if found else "unknown"
        if self._core == "max" and found and int(found.group(1)) < _SOUND:
            raise DeviceError(
                f"qemu {release} computes wrong int8 on `max`; {_SOUND} is right: {INSTALL}"
            )
        return {"core": f"{self._core}, emulated", "qemu": release}

    def push(self, payload: Payload) -> None:
        """See `Device.push`."""
        check_file(self.name, payload, self.suffixes)
        self._payload, self._output = payload, None

    def run(self, work: Work) -> Run:
        """Execute once; `work` gives the threads, its runs do not matter."""
        assert self._payload is not None
        folder = bundle.arm64_bundle()
        with tempfile.TemporaryDirectory(prefix="edgesr-arm64-") as scratch:
            root = Path(scratch)
            self._payload.golden.tofile(root / "in.bin")
            _write_cpuinfo(root / "root", self._core)
            command = [
                _qemu(), "-cpu", self._core, "-L", str(root / "root"),
                *bundle.command(str(folder)),
                f"--model={self._payload.artifact.resolve()}", f"--in={root / 'in.bin'}",
                f"--out={root / 'out.bin'}", "--runs=0", "--warmup=0",
                f"--threads={work.threads}",
            ]  # fmt: skip
            try:
                done = subprocess.run(
                    tied(command), capture_output=True, text=True, timeout=TIMEOUT, check=False,
                    errors="replace",
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise DeviceError(
                    f"{self.name} did not finish {self._payload.artifact.name} within "
                    f"{TIMEOUT:.0f} s; export a smaller --shape"
                ) from None
            if done.returncode:
                words = last_words(done.stderr, done.returncode)
                raise DeviceError(f"{self.name} failed: {words}")
            answer = read_runner(done.stdout, self.name)
            dtype = self._payload.manifest.dtype
            self._output = np.fromfile(root / "out.bin", dtype)
        return Run(
            label="emulated",
            runtime="litert",
            version=version("ai-edge-litert"),
            delegate=f"XNNPACK on an emulated {self._core}",
            placement=Placement.of(None, ()),
            notes=(f"{self.name}: for pixels only; emulated time is no latency",),
            facts={"peak_rss_kb": answer.peak_rss_kb},
        )

    def pull(self) -> Array | None:
        """See `Device.pull`."""
        return self._output

    def snapshot(self) -> dict[str, Any]:
        """See `Device.snapshot`."""
        return {}

    def close(self) -> None:
        """See `Device.close`."""


def _qemu() -> str:
    found = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if found is None:
        raise DeviceError(f"no emulator of arm64 programs: {INSTALL}")
    return found


def _write_cpuinfo(root: Path, core: str) -> None:
    part, dot = _PARTS[core]
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(_CPUINFO.format(part=part, dot=dot))

"""Would a Snapdragon's NPU take the whole TFLite file? LiteRT's compiler, ahead of time.

`--device snapdragon` or `snapdragon:SM8550`. Experimental: the plugin comes with LiteRT and the
compiler with onnxruntime-qnn, and nobody has matched their versions; one library that neither
brings is replaced by an empty one. Nothing is executed and nothing is timed: only the partition is
told.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.child import ChildDevice
from edgesr.benchmarks.devices.device import DeviceError, Payload, Placement, Run
from edgesr.export.compile.environments import QNN, cache_folder

MISSING = "libQnnLpai.so"
_OFFLOADED = re.compile(r"(\d+) / (\d+) ops offloaded to (\d+) partition")


class Snapdragon(ChildDevice):
    """One chip, by Qualcomm's number: SM8750 is the Snapdragon 8 Elite."""

    suffixes = (".tflite",)
    script = "child_snapdragon.py"

    def __init__(self, choice: str) -> None:
        self.name = f"snapdragon:{choice}"
        self._chip = choice

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        package = find_spec("ai_edge_litert")
        if package is None or package.origin is None:
            raise DeviceError("LiteRT is not installed: pip install ai-edge-litert")
        plugin = Path(package.origin).with_name("vendors") / "qualcomm" / "compiler"
        if not any(plugin.glob("libLiteRtCompilerPlugin*")):
            raise DeviceError(
                "this LiteRT has no compiler for Qualcomm; its Linux x86-64 wheel has: "
                "pip install ai-edge-litert"
            )
        QNN.require()
        _empty_library()
        return {"npu": f"of {self._chip}, compiled for", "litert": version("ai-edge-litert")}

    def environment(self) -> dict[str, str]:
        """Where the plugin finds Qualcomm's compiler."""
        found = sorted(QNN.require().parents[1].glob("lib/python*/site-packages/onnxruntime_qnn"))
        if not found:
            raise DeviceError(f"{QNN.name} is damaged: {QNN.how}")
        return {"LD_LIBRARY_PATH": f"{found[0]}:{_empty_library().parent}"}

    def job(self, payload: Payload, scratch: Path) -> dict[str, Any]:
        """For which chip."""
        return {"chip": self._chip}

    def describe(self, answer: Mapping[str, Any], log: str) -> Run:
        """See `ChildDevice.describe`."""
        if answer["failed"]:
            raise DeviceError(f"{self.name} refuses the file: {str(answer['failed'][0])[-300:]}")
        return Run(
            label="estimate",
            runtime="litert aot",
            version=version("ai-edge-litert"),
            delegate=f"Qualcomm {self._chip}",
            placement=read_report(str(answer["report"])),
            notes=(f"{self.name}: compiled only, experimental; nothing was executed or timed",),
            facts={"compile_s": answer["compile_s"], "compiled_bytes": answer["bytes"]},
        )


def read_report(text: str) -> Placement:
    """Operators offloaded, of all subgraphs together; those left behind are not named."""
    found = [(int(taken), int(all_)) for taken, all_, _ in _OFFLOADED.findall(text)]
    if not found:
        return Placement()
    taken, all_ = (sum(numbers) for numbers in zip(*found, strict=True))
    return Placement(on_device=taken, full=taken == all_)


def _empty_library() -> Path:
    """A library with nothing in it, in the user's cache."""
    path = cache_folder() / "qnn-missing" / MISSING
    if path.exists():
        return path
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise DeviceError("no C compiler for an empty library: apt-get install gcc")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-o", str(path), "-x", "c", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceError(f"{compiler} fails: {done.stderr.strip()[-200:]}")
    return path

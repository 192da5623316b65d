"""Graphics chips of this machine: `gpu:litert`, `gpu:openvino`, `gpu:cuda`, `gpu:ncnn`.

LiteRT's GPU accelerator is the one that phones have. Without a graphics chip it runs on a software
implementation of Vulkan (SwiftShader, which Debian's Chromium brings): operators, partition and
pixels are those of the GPU delegate, time is not, and none is given.
"""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.child import ChildDevice
from edgesr.benchmarks.devices.device import (
    Device,
    DeviceError,
    Payload,
    Placement,
    Run,
    Work,
    check_file,
)
from edgesr.benchmarks.devices.vulkan import Driver, find_driver

from edgesr.runtime.pixels import Array

_ADAPTER = re.compile(r"Selected adapter: (.*?), arch=.*?adapterType=([^\n]*)")
_FAILED = re.compile(r"ERROR: ([^\n]*not supported by GPU delegate[^\n]*)")


def open_gpu(choice: str) -> Device:
    """`gpu` with one of its runtimes."""
    if choice == "ncnn":
        from edgesr.benchmarks.devices.gpu_ncnn import NcnnGpu

        return NcnnGpu()
    if choice == "litert":
        return LiteRtGpu()
    return OpenVinoGpu() if choice == "openvino" else CudaGpu()


class LiteRtGpu(ChildDevice):
    """LiteRT's GPU accelerator (ML Drift on WebGPU, on Vulkan)."""

    name = "gpu:litert"
    suffixes = (".tflite",)
    script = "child_litert.py"

    def __init__(self) -> None:
        self._driver = Driver("")

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        if find_spec("ai_edge_litert") is None:
            raise DeviceError("LiteRT is not installed: pip install ai-edge-litert")
        self._driver = find_driver(self.name, self.python())
        return {"gpu": self._driver.gpu, "litert": version("ai-edge-litert")}

    def environment(self) -> dict[str, str]:
        """Which Vulkan driver to load, where it is not the machine's own."""
        return self._driver.environment()

    def job(self, payload: Payload, scratch: Path) -> dict[str, Any]:
        """The accelerator; software is not worth timing."""
        return {"accelerator": "gpu", "timed": not self._driver.software}

    def describe(self, answer: Mapping[str, Any], log: str) -> Run:
        """See `ChildDevice.describe`."""
        adapter, software = read_adapter(log)
        measured = not software and not self._driver.software
        notes: tuple[str, ...] = ()
        if measured:
            notes = ("gpu:litert: the time holds copying the image in and the result out",)
        else:
            notes = (f"gpu:litert: {adapter} computes on the processor; there is no latency",)
        notes += tuple(dict.fromkeys(_FAILED.findall(log)))
        return Run(
            label="measured" if measured else "software",
            runtime="litert",
            version=version("ai-edge-litert"),
            samples=tuple(answer["samples"]) if measured else (),
            delegate=f"GPU accelerator on {adapter}",
            placement=Placement(full=bool(answer["full"])),
            notes=notes,
            facts={"adapter": adapter, "compile_s": answer["compile_s"]},
        )


def read_adapter(log: str) -> tuple[str, bool]:
    """Name of the adapter LiteRT chose, and whether it is (or may be) software."""
    found = _ADAPTER.search(log)
    if found is None:
        return "an unknown adapter", True
    name, kind = found.groups()
    return name, "CPU" in kind or "oftware" in kind or "SwiftShader" in name


class _InProcess:
    """A runtime whose GPU is one more device of a package we have."""

    name: str
    suffixes: tuple[str, ...]
    processes = 1
    _payload: Payload
    _output: Array | None = None

    @abstractmethod
    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""

    @abstractmethod
    def open(self, threads: int) -> tuple[Callable[[Array], Array], Run]:
        """A function to time, and everything about the run but its samples."""

    def push(self, payload: Payload) -> None:
        """See `Device.push`."""
        check_file(self.name, payload, self.suffixes)
        self._payload, self._output = payload, None

    def run(self, work: Work) -> Run:
        """See `Device.run`."""
        from dataclasses import replace

        try:
            infer, run = self.open(work.threads)
            self._output = infer(self._payload.golden)
            for _ in range(work.warm_up):
                infer(self._payload.golden)
            samples = []
            for _ in range(work.runs):
                start = time.perf_counter_ns()
                infer(self._payload.golden)
                samples.append((time.perf_counter_ns() - start) / 1e6)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise DeviceError(
                f"{self.name} refuses {self._payload.artifact.name}: {first}"
            ) from error
        return replace(run, samples=tuple(samples))

    def pull(self) -> Array | None:
        """See `Device.pull`."""
        return self._output

    def snapshot(self) -> dict[str, Any]:
        """See `Device.snapshot`."""
        return {}

    def close(self) -> None:
        """See `Device.close`."""


class OpenVinoGpu(_InProcess):
    """OpenVINO on Intel graphics."""

    name, suffixes = "gpu:openvino", (".xml", ".onnx")

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        import openvino

        core = openvino.Core()
        devices = [device for device in core.available_devices if device.startswith("GPU")]
        if not devices:
            raise DeviceError(
                "OpenVINO finds no Intel graphics: apt-get install intel-opencl-icd, on a machine "
                "that has them"
            )
        name = core.get_property(devices[0], "FULL_DEVICE_NAME")
        return {"gpu": str(name), "openvino": version("openvino")}

    def open(self, threads: int) -> tuple[Callable[[Array], Array], Run]:
        """Compiled in fp32 where it is not int8, as everywhere."""
        import numpy as np
        import openvino

        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        compiled = core.compile_model(str(self._payload.artifact), "GPU", settings)
        devices = "+".join(compiled.get_property("EXECUTION_DEVICES"))
        run = Run(
            "measured", "openvino", version("openvino"), delegate=f"{devices} plugin",
            placement=Placement(full="CPU" not in devices),
        )  # fmt: skip
        return (lambda tensor: np.array(compiled(tensor)[0])), run


class CudaGpu(_InProcess):
    """ONNX Runtime on NVIDIA."""

    name, suffixes = "gpu:cuda", (".onnx",)

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise DeviceError(
                "this ONNX Runtime has no CUDA: pip install onnxruntime-gpu in place of "
                "onnxruntime, on a machine with an NVIDIA GPU and CUDA's libraries"
            )
        return {"gpu": "NVIDIA", "onnxruntime": str(onnxruntime.__version__)}

    def open(self, threads: int) -> tuple[Callable[[Array], Array], Run]:
        """With the fallback to the processor forbidden, then, if that fails, allowed and told."""
        import onnxruntime

        try:
            session, full = self._session(fallback=False), True
        except Exception:  # onnxruntime has a class of its own per status code
            session, full = self._session(fallback=True), False
        if session.get_providers()[0] != "CUDAExecutionProvider":
            raise DeviceError("ONNX Runtime has CUDA, but could not start it: see its log above")
        name = session.get_inputs()[0].name
        run = Run(
            "measured", "onnxruntime", str(onnxruntime.__version__), delegate="CUDA",
            placement=Placement(full=full),
            notes=("gpu:cuda: the time holds copying the image in and the result out",),
        )  # fmt: skip
        return (lambda tensor: session.run(None, {name: tensor})[0]), run

    def _session(self, *, fallback: bool) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if not fallback:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = ["CUDAExecutionProvider", *(["CPUExecutionProvider"] if fallback else [])]
        return onnxruntime.InferenceSession(
            str(self._payload.artifact), options, providers=providers
        )

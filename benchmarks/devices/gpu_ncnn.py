"""`gpu:ncnn`: ncnn through Vulkan, on the graphics chip or, without one, in software."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.child import ChildDevice
from edgesr.benchmarks.devices.device import DeviceError, Payload, Placement, Run
from edgesr.benchmarks.devices.vulkan import Driver, find_driver


class NcnnGpu(ChildDevice):
    """ncnn's Vulkan kernels. What they lack ncnn itself leaves to the processor, and it is told."""

    name = "gpu:ncnn"
    suffixes = (".param",)
    script = "child_ncnn.py"

    def __init__(self) -> None:
        self._driver = Driver("")

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        if find_spec("ncnn") is None:
            raise DeviceError("ncnn is not installed: pip install 'edgesr[ncnn]'")
        self._driver = find_driver(self.name, self.python())
        return {"gpu": self._driver.gpu, "ncnn": version("ncnn")}

    def environment(self) -> dict[str, str]:
        """Which Vulkan driver to load, where it is not the machine's own."""
        return self._driver.environment()

    def job(self, payload: Payload, scratch: Path) -> dict[str, Any]:
        """Halves only for a file that says so; software is not worth timing."""
        half = payload.manifest.precision == "fp16"
        return {"half": half, "timed": not self._driver.software}

    def describe(self, answer: Mapping[str, Any], log: str) -> Run:
        """See `ChildDevice.describe`."""
        adapter = answer["adapter"]
        software = self._driver.software or answer["kind"] == "software"
        if software:
            note = f"gpu:ncnn: {adapter} computes on the processor; there is no latency"
        else:
            note = "gpu:ncnn: the time holds copying the image in and the result out"
        return Run(
            label="software" if software else "measured",
            runtime="ncnn",
            version=version("ncnn"),
            samples=() if software else tuple(answer["samples"]),
            delegate=f"Vulkan on {adapter}",
            placement=Placement.of(answer["on_gpu"], tuple(answer["on_cpu"])),
            notes=(note,),
            facts={"adapter": adapter, "compile_s": answer["compile_s"]},
        )

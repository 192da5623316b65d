"""LiteRT's NPU path with Intel's plugin, which OpenVINO executes.

`--device npu`. The TFLite file is partitioned, compiled and dispatched as on a phone's NPU. With an
Intel NPU in the machine it runs there and is measured; without one OpenVINO's CPU plugin stands in,
which shows the partition and the pixels, and no latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgesr.benchmarks.devices.child import ChildDevice
from edgesr.benchmarks.devices.device import DeviceError, Payload, Placement, Run


class OpenVinoNpu(ChildDevice):
    """The only NPU that LiteRT compiles for just in time on a PC."""

    name = "npu"
    suffixes = (".tflite",)
    script = "child_litert.py"

    def __init__(self, choice: str) -> None:
        self._graph = ""

    def probe(self) -> dict[str, Any]:
        """See `Device.probe`."""
        package = find_spec("ai_edge_litert")
        if package is None or package.origin is None:
            raise DeviceError("LiteRT is not installed: pip install ai-edge-litert")
        plugin = Path(package.origin).with_name("vendors") / "intel_openvino" / "dispatch"
        if not any(plugin.glob("libLiteRtDispatch*")):
            raise DeviceError(
                "this LiteRT has no plugin for Intel NPUs; its Linux x86-64 wheel has: "
                "pip install ai-edge-litert"
            )
        import openvino

        here = "NPU" in openvino.Core().available_devices
        self._graph = "NPU" if here else "CPU"
        return {
            "npu": "Intel's" if here else "none; OpenVINO's CPU plugin stands in",
            "litert": version("ai-edge-litert"),
            "openvino": version("openvino"),
        }

    def environment(self) -> dict[str, str]:
        """The plugin looks for OpenVINO's libraries by name."""
        package = find_spec("openvino")
        assert package is not None and package.origin is not None
        return {"LD_LIBRARY_PATH": str(Path(package.origin).with_name("libs"))}

    def job(self, payload: Payload, scratch: Path) -> dict[str, Any]:
        """Accelerator, plugin, and what stands in for it."""
        return {
            "accelerator": "npu", "vendor": "intel_openvino", "graph": self._graph or "CPU",
            "timed": self._graph == "NPU",
        }  # fmt: skip

    def describe(self, answer: Mapping[str, Any], log: str) -> Run:
        """See `ChildDevice.describe`."""
        measured = self._graph == "NPU"
        return Run(
            label="measured" if measured else "emulated",
            runtime="litert",
            version=version("ai-edge-litert"),
            samples=tuple(answer["samples"]) if measured else (),
            delegate=f"NPU accelerator, OpenVINO {version('openvino')} on {self._graph}",
            placement=Placement(full=bool(answer["full"])),
            notes=() if measured else ("npu: OpenVINO's CPU plugin stood in for the NPU",),
            facts={"compile_s": answer["compile_s"]},
        )

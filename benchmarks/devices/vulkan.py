"""Which Vulkan driver a device loads: the machine's own, or a software stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesr.benchmarks.devices.device import DeviceError
from edgesr.export.compile.child import call

SWIFTSHADER = (
    Path("/usr/lib/chromium/vk_swiftshader_icd.json"),
    Path("/usr/lib/chromium-browser/vk_swiftshader_icd.json"),
    Path("/opt/google/chrome/vk_swiftshader_icd.json"),
)


@dataclass(frozen=True)
class Driver:
    """A Vulkan driver.

    Attributes:
        gpu: what it drives.
        file: to load in place of the machine's own; empty for that.
    """

    gpu: str
    file: str = ""

    @property
    def software(self) -> bool:
        """Whether the processor stands in for a graphics chip."""
        return bool(self.file)

    def environment(self) -> dict[str, str]:
        """Variables that make a process load it."""
        names = ("VK_ICD_FILENAMES", "VK_DRIVER_FILES")
        return dict.fromkeys(names, self.file) if self.file else {}


def find_driver(device: str, python: Path) -> Driver:
    """Ask the Vulkan loader for a graphics chip; without one, SwiftShader.

    Args:
        device: who asks, for errors.
        python: runs the question, in a process of its own.

    Raises:
        DeviceError: no loader, or neither chip nor SwiftShader; with the command that gets one.
    """
    script = Path(__file__).with_name("child_vulkan.py")
    answer, _ = call(device, python, script, {}, timeout=60)
    if "error" in answer:
        raise DeviceError(f"no Vulkan loader ({answer['error']}): apt-get install libvulkan1")
    real = [found for found in answer["adapters"] if found["kind"] != "software"]
    if real:
        return Driver(real[0]["name"])
    software = next((path for path in SWIFTSHADER if path.exists()), None)
    if software is None:
        raise DeviceError(
            "no graphics chip with a Vulkan driver, and no SwiftShader to stand in: "
            "apt-get install chromium"
        )
    return Driver("SwiftShader (software)", str(software))

"""Devices: `open_device("adb:R5CT")`, `survey()`. One file, or folder, per device.

A device is called `KIND` or `KIND:CHOICE`; `ethos-u65-512` is `ethos` with a choice of its own.
Nothing of a device is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from edgesr.benchmarks.devices.device import Device

from edgesr.errors import EdgesrError, UsageError
from edgesr.targets import ethos_u, hexagon, rockchip


@dataclass(frozen=True)
class Kind:
    """A family of devices.

    Attributes:
        opener: `module:class` in this package, called with the choice.
        gives: in a few words, what a run yields.
        choices: what may follow the name; the first is the default. Empty: anything.
        separator: between name and choice.
        tool: whether it can run a tool of the user's.
    """

    opener: str
    gives: str
    choices: tuple[str, ...] = ()
    separator: str = ":"
    tool: bool = False


_QUALCOMM = (
    "SM8750", "SM8350", "SM8450", "SM8475", "SM8550", "SM8650", "SM8845", "SM8850", "SA8255",
    "SA8295",
)  # fmt: skip
_ETHOS = tuple(dict.fromkeys(("u55-256", "u65-512", "u85-2048", *ethos_u.NPUS)))
_HEXAGON = tuple(dict.fromkeys(("v75", *hexagon.ARCHITECTURES)))

KINDS: dict[str, Kind] = {
    "gpu": Kind(
        "gpu:open_gpu",
        "latency, pixels; in software: pixels",
        ("litert", "openvino", "cuda", "ncnn"),
    ),
    "npu": Kind("openvino_npu:OpenVinoNpu", "partition, pixels; with an Intel NPU: latency", ("",)),
    "web": Kind("web:Web", "latency and pixels in a browser", ("wasm", "webgpu")),
    "adb": Kind("android:Android", "latency and pixels of a phone", tool=True),
    "arm64": Kind("arm64:Arm64", "pixels of arm64 kernels", ("cortex-a76", "cortex-a53", "max")),
    "ethos": Kind("compiler:ethos_u", "estimate, operators left on the CPU", _ETHOS, "-"),
    "qnn": Kind("compiler:hexagon", "full offload or not, pixels", _HEXAGON),
    "snapdragon": Kind("snapdragon:Snapdragon", "full offload or not (experimental)", _QUALCOMM),
    "rknn": Kind("compiler:rockchip", "operators left on the CPU, pixels", rockchip.CHIPS),
}
"""Every family but `cpu`, which needs no device."""


@dataclass(frozen=True)
class Found:
    """One line of `edgesr devices`."""

    device: str
    ready: bool
    gives: str
    says: str
    """What the device is, or why it is not here and the command that would get it."""
    facts: dict[str, Any] = field(default_factory=dict)


def open_device(name: str, *, tool: Path | None = None, runner: str = "") -> Device:
    """The device called `name`, without touching it yet.

    Args:
        tool: a benchmark tool of the user's, built for the device.
        runner: `app` lets the app on a phone do the runs, foreground and all.

    Raises:
        UsageError: there is none, and the message lists those there are; or it takes no tool or
            runner.
    """
    if runner:
        return _open_app(name, tool, runner)
    for prefix, kind in KINDS.items():
        if name == prefix and kind.separator == ":":
            choice = kind.choices[0] if kind.choices else ""
        elif name.startswith(prefix + kind.separator):
            choice = name[len(prefix) + 1 :]
        else:
            continue
        if kind.choices and choice not in kind.choices:
            known = ", ".join(f"{prefix}{kind.separator}{known}" for known in kind.choices)
            raise UsageError(f"no device is called `{name}`; there are {known}")
        module, attribute = kind.opener.split(":")
        make = getattr(import_module(f"{__name__}.{module}"), attribute)
        if tool is None:
            return cast("Callable[[str], Device]", make)(choice)
        if not kind.tool:
            raise UsageError(f"{name} brings its own runtime and takes no --tool")
        return cast("Callable[[str, Path], Device]", make)(choice, tool)
    known = ", ".join(["cpu", *(_spelling(prefix, kind) for prefix, kind in KINDS.items())])
    raise UsageError(f"no device is called `{name}`; there are {known}")


def _open_app(name: str, tool: Path | None, runner: str) -> Device:
    kind, _, choice = name.partition(":")
    if runner != "app" or kind != "adb" or tool is not None:
        raise UsageError("the only runner is `app`, for --device adb, without --tool")
    return cast("Device", import_module(f"{__name__}.android_app").AndroidApp(choice))


def survey(names: Sequence[str] = ()) -> list[Found]:
    """Ask every device, or those named, whether it is here.

    Raises:
        UsageError: a name that no device has.
    """
    asked = list(names) or list(_usual())
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_ask, asked))


def _ask(name: str) -> Found:
    device = open_device(name)
    gives = next(kind.gives for prefix, kind in KINDS.items() if name.startswith(prefix))
    try:
        facts = device.probe()
    except EdgesrError as error:
        return Found(name, False, gives, str(error))
    finally:
        device.close()
    says = ", ".join(f"{key} {value}" for key, value in facts.items() if _short(value))
    return Found(name, True, gives, says, facts)


def _short(value: object) -> bool:
    return isinstance(value, (str, int, float)) and len(str(value)) < 60


def _usual() -> Iterator[str]:
    """One of each kind where the others are like it, all where they are not."""
    for prefix, kind in KINDS.items():
        if kind.separator != ":":
            yield from (f"{prefix}{kind.separator}{choice}" for choice in kind.choices[:3])
        elif prefix in ("gpu", "web"):
            yield from (f"{prefix}:{choice}" for choice in kind.choices)
        else:
            yield prefix


def _spelling(prefix: str, kind: Kind) -> str:
    if kind.separator != ":":
        return ", ".join(f"{prefix}{kind.separator}{choice}" for choice in kind.choices[:3])
    if kind.choices == ("",):
        return prefix
    return f"{prefix}[:{kind.choices[1] if kind.choices else 'SERIAL'}]"

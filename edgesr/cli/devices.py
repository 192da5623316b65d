"""`edgesr devices`: where artifacts can run from here, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer


def devices_command(
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Only these; default: all.")
    ] = None,
    install: Annotated[
        str, typer.Option(help="Install the tool of a device into the user's cache folder.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what `edgesr bench --device` can run on here, and how to get the rest.

    A device that is not here is listed with the reason and the command that would get it.
    """
    from edgesr.benchmarks.devices import survey
    from edgesr.benchmarks.machine import this_machine
    from edgesr.cli.output import say, show_table

    if install:
        from edgesr.benchmarks.devices.tools import find_tool

        tool = find_tool(install)
        say(f"edgesr: installing {install} into {tool.folder} {tool.size}")
        tool.install()
    machine = this_machine()
    here = {
        "device": "cpu", "ready": True, "gives": "latency, in turns",
        "says": f"{machine.cores} cores, {machine.cpu}; {_runtimes(machine.packages)}", "facts": {},
    }  # fmt: skip
    rows = [vars(found) for found in survey(devices or ())]
    show_table(
        rows if devices else [here, *rows],
        {"device": "device", "ready": "here", "gives": "gives", "says": "what, or how to get it"},
        as_json=as_json,
    )


_RUNTIMES = {
    "ai-edge-litert": "", "onnxruntime": "", "openvino": "", "torch": "",
    "ncnn": "ncnn: pip install 'edgesr[ncnn]'",
}  # fmt: skip
"""Packages that time files on the processor, and how to get those that an extra brings."""


def _runtimes(packages: Mapping[str, str]) -> str:
    """Those that are installed, with their versions, and what would bring the others."""
    told = [
        f"{name} {packages[name]}" if name in packages else remedy
        for name, remedy in _RUNTIMES.items()
    ]
    return ", ".join(filter(None, told))

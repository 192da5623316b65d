"""The tools that live in environments of their own, by name."""

from __future__ import annotations

from edgesr.benchmarks.devices.npm import NpmTool
from edgesr.export.compile.environments import QNN, RKNN, Tool

from edgesr.errors import UsageError

WEB = NpmTool("web", {"@litertjs/core": "2.5.3", "onnxruntime-web": "1.30.0"}, size="0.2 GB")

TOOLS: dict[str, Tool | NpmTool] = {"qnn": QNN, "rknn": RKNN, "web": WEB}


def find_tool(name: str) -> Tool | NpmTool:
    """The tool called `name`.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    if name not in TOOLS:
        raise UsageError(f"no tool is called `{name}`; there are {', '.join(TOOLS)}")
    return TOOLS[name]

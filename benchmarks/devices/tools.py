"""The tools that live in environments of their own, by name."""

from __future__ import annotations

from edgesr.benchmarks.devices.environments import Tool

from edgesr.errors import UsageError

TOOLS: dict[str, Tool] = {}


def find_tool(name: str) -> Tool:
    """The tool called `name`.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    if name not in TOOLS:
        raise UsageError(f"no tool is called `{name}`; there are {', '.join(TOOLS)}")
    return TOOLS[name]

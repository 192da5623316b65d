"""What a phone is and how it feels: properties, cores, heat, charger, clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PROPERTIES = {
    "model": "ro.product.model", "maker": "ro.product.manufacturer",
    "soc": "ro.soc.model", "soc_maker": "ro.soc.manufacturer", "board": "ro.board.platform",
    "abi": "ro.product.cpu.abi", "android": "ro.build.version.release",
    "sdk": "ro.build.version.sdk", "build": "ro.build.fingerprint",
    "emulator": "ro.boot.qemu", "old_emulator": "ro.kernel.qemu",
}  # fmt: skip
"""What the results keep of `getprop`: nothing that names the owner or the copy."""

FACTS = "; ".join(f"echo {key}=$(getprop {name})" for key, name in PROPERTIES.items())
FACTS += "; echo machine=$(uname -m)"
"""Command that prints them, one `key=value` a line."""

CORES = (
    "for c in /sys/devices/system/cpu/cpu[0-9]*; do "
    "echo ${c##*cpu} $(cat $c/cpufreq/cpuinfo_max_freq $c/cpufreq/scaling_max_freq "
    "$c/cpufreq/scaling_cur_freq 2>/dev/null); done"
)
"""Prints core, and in kHz: what it can, what it may, what it does."""

STATE = (
    f"dumpsys battery 2>/dev/null; echo EDGESR; dumpsys thermalservice 2>/dev/null; echo EDGESR; "
    f"{CORES}"
)


def read_facts(text: str) -> dict[str, str]:
    """Of `FACTS`; what the phone does not know is left out."""
    pairs = (line.partition("=") for line in text.splitlines())
    known = {*PROPERTIES, "machine"}
    return {k: v.strip() for k, _, v in pairs if k in known and v.strip()}


def is_emulated(facts: Mapping[str, str]) -> bool:
    """Whether its instructions are emulated: an Android emulator, or arm64 on another machine."""
    if "1" in (facts.get("emulator"), facts.get("old_emulator")):
        return True
    machine = facts.get("machine", "")
    return facts.get("abi", "").startswith("arm64") and not machine.startswith(("aarch64", "armv8"))


def read_cores(text: str) -> dict[int, tuple[int, int, int]]:
    """Core to (can, may, does) in kHz, of those that tell all three."""
    cores = {}
    for line in text.splitlines():
        numbers = line.split()
        if len(numbers) == 4 and all(number.isdigit() for number in numbers):
            core, can, may, does = map(int, numbers)
            cores[core] = (can, may, does)
    return cores


def fastest_mask(cores: Mapping[int, tuple[int, int, int]], threads: int) -> str:
    """Hexadecimal mask for `taskset`: the `threads` fastest cores; empty where they do not tell.

    Left alone, the scheduler may start a benchmark on a little core and move it up later.
    """
    if not cores:
        return ""
    ranked = sorted(cores, key=lambda core: (-cores[core][0], core))
    return f"{sum(1 << core for core in ranked[:threads]):x}"


def read_state(text: str) -> dict[str, Any]:
    """Of `STATE`: battery, heat and clock, and whether they disturb a figure."""
    battery, thermal, rest = [*text.split("EDGESR"), "", "", ""][:3]
    state: dict[str, Any] = {}
    if found := re.search(r"^\s*level: (\d+)", battery, re.MULTILINE):
        state["battery_percent"] = int(found.group(1))
    if found := re.search(r"^\s*temperature: (-?\d+)", battery, re.MULTILINE):
        state["battery_celsius"] = int(found.group(1)) / 10
    powered = re.findall(r"^\s*\w+ powered: (true|false)", battery, re.MULTILINE)
    if powered:
        state["charging"] = "true" in powered
    status = re.search(r"Thermal Status: (\d+)", thermal)
    if status:
        state["thermal_status"] = int(status.group(1))
    cores = read_cores(rest)
    if cores:
        state["core_mhz"] = {core: does // 1000 for core, (_, _, does) in cores.items()}
    capped = any(may < can for can, may, _ in cores.values())
    if status or cores:
        state["throttled"] = capped or state.get("thermal_status", 0) > 0
    return state


def is_cool(state: Mapping[str, Any], limit: float = 35.0) -> bool:
    """Whether a measurement may begin: no thermal status, battery below `limit` °C."""
    return not state.get("throttled") and state.get("battery_celsius", 0.0) < limit

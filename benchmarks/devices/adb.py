"""The adb client: one phone by its serial, and what can go wrong in one sentence each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgesr.benchmarks.devices.device import DeviceError

from edgesr.errors import UsageError

INSTALL = "apt-get install adb"
TIMEOUT = 30.0
"""Seconds for anything but a benchmark."""

_END = "EDGESR_END"
"""Written after every command: adb says nothing when a phone is unplugged in the middle, and old
ones do not pass on exit codes."""

_STATES = {
    "unauthorized": "does not trust this machine: accept the question on its screen",
    "offline": "is offline: plug it in again, or `adb reconnect`",
    "no permissions": "may not be opened by this user: apt-get install android-sdk-platform-tools-"
    "common, then plug it in again",
    "recovery": "is in recovery: restart it",
    "sideload": "waits for an update: restart it",
    "bootloader": "is in its boot loader: restart it",
    "authorizing": "is still asking: try again in a moment",
}


class Adb:
    """A connection to the phone with this serial, or to the only one there is."""

    def __init__(self, serial: str = "") -> None:
        self._wanted = serial
        self._serial = ""

    @property
    def serial(self) -> str:
        """Of the phone; settled when it is first asked for.

        Raises:
            DeviceError: no adb, no phone, or it cannot be used.
            UsageError: several phones and no serial.
        """
        if not self._serial:
            self._serial = choose(self._client("devices").stdout, self._wanted)
        return self._serial

    def shell(self, command: str, *, timeout: float = TIMEOUT, check: bool = True) -> str:
        """Run a command on the phone.

        Returns:
            What it wrote, errors included; adb before Android 7 does not tell them apart.

        Raises:
            DeviceError: it failed (unless `check` is off), or the phone went away.
        """
        marked = f"{command}; echo {_END} $?"
        done = self._client("-s", self.serial, "shell", marked, timeout=timeout)
        self._check_alive(done)
        written, mark, code = done.stdout.rpartition(_END)
        if not mark or not code.strip().isdigit():
            raise DeviceError(f"{self.serial} went away while it worked; plug it in again")
        if check and int(code):
            last = _last(written + done.stderr)
            raise DeviceError(f"{self.serial} failed: {last} (exit code {int(code)})")
        return written + done.stderr

    def push(self, source: Path, target: str) -> None:
        """Copy a file, or what is in a folder, to the phone."""
        self._copy("push", str(source), target)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from the phone."""
        self._copy("pull", source, str(target))

    def install(self, apk: Path) -> None:
        """Install an app, or replace it and keep its files.

        Raises:
            DeviceError: the phone refuses it; the message holds its reason.
        """
        # Phones (and adb servers) that cannot take an app while it is being sent get a copy first.
        for option in ([], ["--no-streaming"]):
            words = ["-s", self.serial, "install", "-r", *option, str(apk)]
            done = self._client(*words, timeout=300)
            self._check_alive(done)
            if done.returncode == 0 and "Failure" not in done.stdout:
                return
        raise DeviceError(
            f"{self.serial} does not install {apk.name}: {_last(done.stderr + done.stdout)}"
        )

    def _copy(self, direction: str, source: str, target: str) -> None:
        done = self._client("-s", self.serial, direction, source, target, timeout=300)
        self._check_alive(done)
        if done.returncode:
            raise DeviceError(
                f"adb {direction} of {Path(source).name} failed: {_last(done.stdout + done.stderr)}"
            )

    def _check_alive(self, done: subprocess.CompletedProcess[str]) -> None:
        """adb's own complaints begin with `error: `; those about the device mean it is gone."""
        words = done.stderr.strip()
        if done.returncode and words.startswith("error: ") and (
            "device" in words or "closed" in words
        ):  # fmt: skip
            raise DeviceError(f"{self.serial} went away ({words}); plug it in again")

    def _client(
        self, *arguments: str, timeout: float = TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        path = shutil.which("adb")
        if path is None:
            raise DeviceError(f"adb is not installed: {INSTALL}")
        try:
            return subprocess.run(
                [path, *arguments], capture_output=True, text=True, timeout=timeout, check=False,
                errors="replace", stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            where = self._serial or "adb"
            raise DeviceError(f"{where} did not answer within {timeout:.0f} s") from None


def choose(listing: str, wanted: str = "") -> str:
    """The serial to use, from what `adb devices` printed.

    Raises:
        DeviceError: none, not the one wanted, or it is not ready.
        UsageError: several, and none was named.
    """
    states = read_devices(listing)
    if wanted and wanted not in states:
        there = ", ".join(states) or "none"
        raise DeviceError(f"no phone has the serial {wanted}; connected: {there}")
    if not states:
        raise DeviceError(
            "no phone is connected: turn on USB debugging, plug it in, and see `adb devices`"
        )
    if not wanted and len(states) > 1:
        named = " or ".join(f"adb:{serial}" for serial in states)
        raise UsageError(f"{len(states)} phones are connected; choose --device {named}")
    serial = wanted or next(iter(states))
    state = states[serial]
    if state != "device":
        why = _STATES.get(state, f"is `{state}`: it must be `device`")
        raise DeviceError(f"{serial} {why}")
    return serial


def read_devices(listing: str) -> dict[str, str]:
    """Serial to state, from what `adb devices` printed, chatter of its server left out."""
    states = {}
    for line in listing.splitlines():
        serial, tab, state = line.partition("\t")
        if tab and serial and not serial.startswith("*"):
            known = [name for name in _STATES if state.startswith(name)]
            states[serial.strip()] = known[0] if known else state.strip().split(" ")[0]
    return states


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no word why"

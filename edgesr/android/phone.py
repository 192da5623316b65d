"""The app on a connected phone: install it, bring it a model, fetch what it measured."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesr.android.models import check_model
from edgesr.benchmarks.devices.adb import Adb
from edgesr.benchmarks.devices.android_app import MODELS, PACKAGE, READABLE, RESULTS
from edgesr.errors import BadFileError, OutputExistsError
from edgesr.export.compile import DeviceError
from edgesr.manifest import manifest_path


def install(apk: Path, serial: str = "") -> str:
    """Install the app, or replace it; the phone's serial.

    Raises:
        BadFileError: no such file.
        DeviceError: no phone, or it refuses.
    """
    if not apk.is_file():
        raise BadFileError(f"no such file: {apk}; `edgesr android build` makes one")
    adb = Adb(serial)
    adb.install(apk)
    return adb.serial


def push(artifacts: Sequence[Path], serial: str = "", *, start: bool = True) -> list[str]:
    """Bring models with their manifests to the phone, and open the app with the last one.

    Returns:
        Where they are on the phone.

    Raises:
        BadFileError: an artifact without manifest, changed since it was exported, or hostile.
        UsageError: a kind of file or scale that the app does not run.
        DeviceError: no phone, or the app is not on it.
    """
    for artifact in artifacts:
        check_model(artifact)
    adb = Adb(serial)
    adb.shell(f"mkdir -p {MODELS}")
    for artifact in artifacts:
        for file in (artifact, manifest_path(artifact)):
            adb.push(file, f"{MODELS}/{file.name}")
    adb.shell(READABLE)
    if start:
        opened = adb.shell(
            f"am start -n {PACKAGE}/.MainActivity --es model {shlex.quote(artifacts[-1].name)}",
            check=False,
        )
        if "Error" in opened:
            raise DeviceError(
                f"the models are on {adb.serial}, the app is not: edgesr android install"
            )
    return [f"{MODELS}/{artifact.name}" for artifact in artifacts]


def pull(folder: Path, serial: str = "", *, force: bool = False) -> list[dict[str, Any]]:
    """Fetch the results that benchmarks on the phone left there.

    Returns:
        One mapping per result: `file` and what the app wrote.

    Raises:
        DeviceError: no phone, or no results.
        OutputExistsError: a file is there already.
        BadFileError: a result is damaged.
    """
    adb = Adb(serial)
    names = [
        name for name in adb.shell(f"ls {RESULTS} 2>/dev/null", check=False).split()
        if name.endswith((".json", ".bin"))
    ]  # fmt: skip
    if not names:
        raise DeviceError(
            f"no results on {adb.serial}: `adb shell am start -n {PACKAGE}/.BenchActivity "
            "--es model FILE` makes one"
        )
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise OutputExistsError(f"{folder / there[0]} exists already; --force overwrites it")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in names:
        adb.pull(f"{RESULTS}/{name}", folder / name)
        if name.endswith(".json"):
            rows.append({"file": name, **_read(folder / name)})
    return rows


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise BadFileError(f"{file} is no result of the app: {error}") from error
    if not isinstance(found, dict) or "edgesr_run" not in found:
        raise BadFileError(f"{file} is no result of the app")
    return found

"""Where the app's sources are: in a checkout, not in the wheel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import edgesr
from edgesr.errors import EnvironmentLimitError

ANDROID_JAR = "android"
"""The part that Kotlin for the phone is compiled against."""


def demo_folder() -> Path:
    """`android-demo` of the checkout this package runs from.

    Raises:
        EnvironmentLimitError: it runs from a wheel.
    """
    folder = Path(edgesr.__file__).resolve().parents[1] / "android-demo"
    if not (folder / "core").is_dir():
        raise EnvironmentLimitError(
            "the app's sources are not in the wheel: clone edgesr, `pip install -e .`, try again"
        )
    return folder


def kotlin_files(module: str, kind: str = "main") -> list[Path]:
    """The Kotlin files of a module (`core`, `engine`, `app`)."""
    return sorted((demo_folder() / module / "src" / kind / "kotlin").rglob("*.kt"))


def digest(files: Iterable[Path], *more: str) -> str:
    """Changes whenever one of the files does."""
    total = hashlib.sha256("\0".join(more).encode())
    for file in files:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:16]

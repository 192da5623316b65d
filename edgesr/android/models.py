"""Which exported files the app can open."""

from __future__ import annotations

from pathlib import Path

from edgesr.errors import UsageError
from edgesr.runtime.session import sound_manifest


def check_model(artifact: Path) -> None:
    """Say here what the app would say on the phone.

    Raises:
        UsageError: a kind of file or a scale that the app does not run.
        BadFileError: no manifest, changed since it was exported, or hostile.
    """
    if artifact.suffix not in (".tflite", ".onnx"):
        raise UsageError(f"the app runs .tflite and .onnx files, not {artifact.name}")
    if not isinstance(sound_manifest(artifact).scale, int):
        raise UsageError(
            f"the app enlarges by whole numbers, and {artifact.name} does not; on a phone's "
            "browser `edgesr serve` runs it"
        )

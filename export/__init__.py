"""Write a network for a target and prove the file: `export(network, target="tflite", ...)`."""

from typing import Any

__all__ = ["Artifact", "export"]


def __getattr__(name: str) -> Any:
    # Subpackages (`edgesr.export.lower`) are used on their own; the pipeline pulls in everything.
    if name in __all__:
        from edgesr.export import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'edgesr.export' has no attribute {name!r}")

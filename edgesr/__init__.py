"""edgesr: from a training-side super-resolution network to a phone model, proved.

    import edgesr

    network = edgesr.load("plain-m-x3")
    artifact = edgesr.export(network, target="tflite", precision="int8", shape=(360, 640))

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesr.collapse import collapse
    from edgesr.evaluate import evaluate
    from edgesr.export import export
    from edgesr.models import create
    from edgesr.models.intake import load
    from edgesr.quantize import quantize
    from edgesr.runtime import open_session

__all__ = ["collapse", "create", "evaluate", "export", "load", "open_session", "quantize"]

_HOMES = {
    "collapse": "edgesr.collapse",
    "create": "edgesr.models",
    "evaluate": "edgesr.evaluate",
    "export": "edgesr.export",
    "load": "edgesr.models.intake",
    "open_session": "edgesr.runtime",
    "quantize": "edgesr.quantize",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

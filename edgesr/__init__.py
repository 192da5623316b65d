"""edgesr: from a training-side super-resolution network to a phone model, proved.

    import edgesr
    from edgesr.export import export

    network = edgesr.load("plain-m-x3")
    artifact = export(network, target="tflite", precision="int8", shape=(360, 640))
    session = edgesr.open_session(artifact.path)

Nothing heavy is imported until it is used. Each step of the chain is a subpackage named after its
verb: `edgesr.collapse.collapse`, `edgesr.quantize.quantize`, `edgesr.export.export`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesr.models import create
    from edgesr.models.intake import load
    from edgesr.runtime import open_session

__all__ = ["create", "load", "open_session"]

_HOMES = {
    "create": "edgesr.models",
    "load": "edgesr.models.intake",
    "open_session": "edgesr.runtime",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

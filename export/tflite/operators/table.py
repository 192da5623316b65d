"""ATen operator to the function that writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgesr.export.tflite.emission import Emission
from torch import fx

Emitter = Callable[[Emission, fx.Node], None]

EMITTERS: dict[Any, Emitter] = {}


def emits(*targets: Any) -> Callable[[Emitter], Emitter]:
    """Register the decorated function for these ATen operators."""

    def add(emitter: Emitter) -> Emitter:
        for target in targets:
            EMITTERS[target] = emitter
        return emitter

    return add

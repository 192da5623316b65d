"""The operator table: one small emitter per ATen operator."""

from edgesr.export.tflite.operators import (  # noqa: F401  (importing registers them)
    activation,
    arithmetic,
    convolution,
    gather,
    layout,
    resample,
)  # fmt: skip
from edgesr.export.tflite.operators.table import EMITTERS, Emitter

__all__ = ["EMITTERS", "Emitter"]

"""The commands that fix what is found."""

from __future__ import annotations

_OUT = "--out FILE.int8.safetensors"


def equalize(model: str) -> str:
    """Balance channel ranges across layers."""
    return f"edgesr quantize ptq {model} --equalize {_OUT}"


def recalibrate(model: str, observer: str = "minmax") -> str:
    """Choose ranges anew, on photos of the user's."""
    return f"edgesr quantize ptq {model} --data PHOTOS --observer {observer} {_OUT}"


def correct(model: str) -> str:
    """Take the mean error out of the biases."""
    return f"edgesr quantize ptq {model} --bias-correction {_OUT}"


def mix(model: str, drop: float = 0.05) -> str:
    """Keep the layers that cost most above int8."""
    return f"edgesr quantize ptq {model} --max-drop {drop} {_OUT}"


def retrain(model: str) -> str:
    """Fine-tune on the integer grid."""
    return f"edgesr quantize qat {model} --data PHOTOS {_OUT}"


def float_export(model: str, target: str) -> str:
    """Leave int8."""
    return f"edgesr export {model} --target {target} --precision fp16"

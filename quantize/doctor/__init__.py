"""The int8 doctor: where quantization hurts a network, why, and the command that heals it.

diagnosis = examine(load("plain-m-x3"), samples(dataset("samples"), 3))
diagnosis.findings[0]
"""

from edgesr.quantize.doctor.diagnosis import Diagnosis, Finding, LayerFigures, Severity
from edgesr.quantize.doctor.examine import examine
from edgesr.quantize.doctor.windows import Budget, Sample

__all__ = ["Budget", "Diagnosis", "Finding", "LayerFigures", "Sample", "Severity", "examine"]

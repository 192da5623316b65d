"""Quantize: one set of scales, decided on the graph, spelled by every writer."""

from edgesr.quantize.ptq import quantize
from edgesr.quantize.scheme import QParams, QuantizedGraph, QWeights

__all__ = ["QParams", "QWeights", "QuantizedGraph", "quantize"]

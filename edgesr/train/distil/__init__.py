"""Distillation: one strategy per file, named as its paper. Any teacher to any student.

teacher = Teacher(load("rlfn_x2.pth"))
train(student, patches, out, schedule, objective=STRATEGIES["fakd"](student, teacher))
"""

from __future__ import annotations

from edgesr.train.distil.attention import AttentionSimilarity
from edgesr.train.distil.facd import FACD
from edgesr.train.distil.fakd import FAKD
from edgesr.train.distil.fitnets import FitNets
from edgesr.train.distil.lsfd import LSFD
from edgesr.train.distil.mkd import MKD
from edgesr.train.distil.output import OutputKD
from edgesr.train.distil.strategy import Distillation
from edgesr.train.distil.tas import TAS
from edgesr.train.distil.teacher import Teacher

STRATEGIES: dict[str, type[Distillation]] = {
    "output": OutputKD,
    "fitnets": FitNets,
    "fakd": FAKD,
    "lsfd": LSFD,
    "facd": FACD,
    "mkd": MKD,
    "tas": TAS,
    "attention": AttentionSimilarity,
}
"""By the names recipes use."""

__all__ = ["STRATEGIES", "Distillation", "Teacher"]

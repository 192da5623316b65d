"""Output distillation: the student's image is drawn to the teacher's.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (NIPS workshop 2014), whose
soft targets are, for regression, the teacher's output: `KD` in the tables of super-resolution
papers, `L_TS` in FAKD (equation 6).
"""

from __future__ import annotations

from torch import Tensor

from edgesr.train.distil.strategy import Distillation, Seen
from edgesr.train.losses import l1


class OutputKD(Distillation):
    """`mean |sr_S - sr_T|`."""

    title = "output KD (Hinton et al., 2014)"

    def knowledge(self, seen: Seen) -> Tensor:
        return l1(seen.student_image, seen.teacher_image)

"""FitNets: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015.

The student's maps, taken to the teacher's width by a regressor, are drawn to the teacher's
(equation 3). The regressor is a learned 1x1 convolution.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from edgesr.train.distil.strategy import Adapters, Distillation, Seen, mean_of, same_size


class FitNets(Distillation):
    """`mean_i mean (W_i f_S,i - f_T,i)^2`."""

    title = "FitNets (ICLR 2015)"
    own_weight = 0.002

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.adapt = Adapters(self)

    def knowledge(self, seen: Seen) -> Tensor:
        pairs = zip(self.adapt(seen.student_maps), seen.teacher_maps, strict=True)
        sized = [same_size(s, t) for s, t in pairs]
        return mean_of([(s - t).square().mean() for s, t in sized])

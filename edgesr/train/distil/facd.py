"""FACD: Moon, Kim, Jeong, Kim, "Feature-Domain Adaptive Contrastive Distillation for Efficient
Single Image Super-Resolution", IEEE Access 2023 (arXiv 2211.15951).

Near the teacher's features of the same patch, far from those of the other patches in the batch:

    L_i(n) = |W_i f_S,i(n) - f_T,i(n)|_1 / (mean_{m != n} |W_i f_S,i(n) - f_T,i(m)|_1)

and adaptive: only patches on which the teacher's image is nearer to the original than the
student's are distilled; of the others there is nothing to learn. The ratio is that of contrastive
losses in super-resolution (RLFN, equation 5; CSD, equation 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgesr.errors import UsageError
from edgesr.train.distil.strategy import (
    Adapters,
    Distillation,
    Seen,
    better,
    mean_of,
    same_size,
)


def contrast(student: Tensor, teacher: Tensor) -> Tensor:
    """The ratio of each patch: N values.

    Raises:
        UsageError: one patch has no other to be told from.
    """
    count = len(student)
    if count < 2:
        raise UsageError("FACD compares the patches of a batch; use at least 2 in each process")
    distances = torch.stack([(student - other).abs().mean((1, 2, 3)) for other in teacher], 1)
    near = distances.diagonal()
    far = (distances.sum(1) - near) / (count - 1)
    return near / far.clamp(min=1e-7)


class FACD(Distillation):
    """The contrast of the patches that have something to learn."""

    title = "FACD (IEEE Access 2023)"
    own_weight = 0.001

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.adapt = Adapters(self)

    def knowledge(self, seen: Seen) -> Tensor:
        worth = better(seen.teacher_image, seen.student_image.detach(), seen.hr)
        pairs = zip(self.adapt(seen.student_maps), seen.teacher_maps, strict=True)
        return mean_of([(worth * contrast(*same_size(s, t))).mean() for s, t in pairs])

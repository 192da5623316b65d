"""LSFD: Park, Kwak, "Local-Selective Feature Distillation for Single Image Super-Resolution",
arXiv 2111.10988.

FitNets asks for the teacher's features everywhere and all at once. Here the comparison is local,
one pixel's vector of channels (set to length 1, so that flat and busy places count alike) with
the same pixel's of the teacher; and selective, most where the two images differ:

    D(x)  = mean over channels of |sr_T - sr_S| at x, averaged down to the size of the maps
    A(x)  = D(x) / mean D
    L     = mean_i mean_x A(x) |W_i f_S,i - f_T,i|^2(x)

The abstract fixes locality and the attention on the teacher-student difference; the form of both
is ours.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from edgesr.train.distil.strategy import Adapters, Distillation, Seen, mean_of, same_size


def attention(student_image: Tensor, teacher_image: Tensor, size: tuple[int, int]) -> Tensor:
    """`A`: N x 1 x H x W with mean 1 in every image. It is a weight, no path for gradients."""
    difference = (teacher_image - student_image).detach().abs().mean(1, keepdim=True)
    reduced = F.adaptive_avg_pool2d(difference, size)
    return reduced / reduced.mean((2, 3), keepdim=True).clamp(min=1e-12)


class LSFD(Distillation):
    """Features where the student is not yet the teacher."""

    title = "LSFD (arXiv 2111.10988)"
    own_weight = 0.002

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.adapt = Adapters(self)

    def knowledge(self, seen: Seen) -> Tensor:
        terms = []
        for student, teacher in zip(self.adapt(seen.student_maps), seen.teacher_maps, strict=True):
            s, t = same_size(student, teacher)
            distance = (F.normalize(s, dim=1) - F.normalize(t, dim=1)).square()
            size = (s.shape[2], s.shape[3])
            where = attention(seen.student_image, seen.teacher_image, size)
            terms.append((where * distance.sum(1, keepdim=True)).mean())
        return mean_of(terms)

"""Attention similarity: Shin, Lee, Lee, Yu, Lee, "Teaching Where to Look: Attention Similarity
Knowledge Distillation for Low Resolution Face Recognition", ECCV 2022.

Where the teacher looks, not what it sees: the cosine distance between attention maps, spatial and
along channels, half each (equation 4):

    L = mean_i (1 - cos(P_S,i, P_T,i)) / 2 + (1 - cos(C_S,i, C_T,i)) / 2

The paper takes the maps of CBAM modules. Networks here have none; as in Zagoruyko and Komodakis
(ICLR 2017, equation 1) attention is the mean magnitude of activations: P over channels, C over
pixels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from edgesr.train.distil.strategy import Adapters, Distillation, Seen, mean_of, same_size


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the batch of `1 - cos` between flattened maps."""
    return (1 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)).mean()


class AttentionSimilarity(Distillation):
    """Cosine distance of spatial and channel attention."""

    title = "attention similarity (A-SKD, ECCV 2022)"
    own_weight = 0.005

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.adapt = Adapters(self)

    def knowledge(self, seen: Seen) -> Tensor:
        terms = []
        for student, teacher in zip(self.adapt(seen.student_maps), seen.teacher_maps, strict=True):
            s, t = (side.abs() for side in same_size(student, teacher))
            spatial = distance(s.mean(1), t.mean(1))
            along_channels = distance(s.mean((2, 3)), t.mean((2, 3)))
            terms.append((spatial + along_channels) / 2)
        return mean_of(terms)

"""FAKD: He et al., "FAKD: Feature-Affinity Based Knowledge Distillation for Efficient Image
Super-Resolution", ICIP 2020.

Not the features are handed on but which places resemble which: with every pixel's vector of
channels set to length 1 (equation 2), the affinity of a map `F` of C x HW is `A = F^T F`, HW x HW
(equation 3), and

    L_SA = mean_i mean |A_T,i - A_S,i|     (equation 4)
    L    = L_HR + alpha L_TS + beta L_SA   (equations 5 to 7; L_TS is L1 to the teacher's image)

Widths of both networks may differ without any map between them. `A` grows with the fourth power
of the patch; here maps are averaged down to 16 pixels a side first, which the paper does not do.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from edgesr.train.distil.strategy import Distillation, Seen, mean_of
from edgesr.train.losses import l1

SIDE = 16


def affinity(features: Tensor) -> Tensor:
    """`A` of each map in a batch: N x C x H x W in, N x HW x HW out."""
    if max(features.shape[2:]) > SIDE:
        height, width = (min(SIDE, side) for side in features.shape[2:])
        features = F.adaptive_avg_pool2d(features, (height, width))
    places = F.normalize(features.flatten(2), dim=1)
    return places.transpose(1, 2) @ places


class FAKD(Distillation):
    """`L_TS + affinity_weight L_SA`.

    At 0.05 instead of 0.002 the affinity costs a small student 0.3 dB on Set5 (short runs of the
    kind in docs/distil.md).
    """

    title = "FAKD (ICIP 2020)"
    affinity_weight = 0.002

    def knowledge(self, seen: Seen) -> Tensor:
        pairs = zip(seen.student_maps, seen.teacher_maps, strict=True)
        spatial = mean_of([(affinity(s) - affinity(t)).abs().mean() for s, t in pairs])
        image = l1(seen.student_image, seen.teacher_image)
        return image + self.affinity_weight * spatial

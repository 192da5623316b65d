"""Which of two sizes will be better once trained: a rank, fitted to published networks.

Training all candidates would take days, and a minute of training ranks them by how fast they
learn. SESR and ECBSR are networks of this kind (plain 3x3 convolutions when deployed, collapsed
from branches, one skip over all), each published in five sizes trained alike. Their PSNR is, within
0.04 dB,

    a + b ln depth - k / channels

with one `a` per paper and scale. Deeper always helps a little; wider helps less and less.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from edgesr.design.family import Member

PUBLISHED: dict[str, dict[Member, float]] = {
    "SESR x2, Set14 (Bhardwaj et al., MLSys 2022)": {
        Member(3, 16): 32.70, Member(5, 16): 32.84, Member(7, 16): 32.91,
        Member(11, 16): 33.03, Member(11, 32): 33.24,
    },
    "ECBSR x4, Set14 (Zhang et al., ACM MM 2021)": {
        Member(4, 8): 27.43, Member(4, 16): 27.78, Member(10, 16): 27.99,
        Member(10, 32): 28.15, Member(16, 64): 28.34,
    },
}  # fmt: skip
"""dB of Y; depth as their papers count blocks, without the first and last convolution."""


def quality(member: Member) -> float:
    """dB above a network of depth 1 and unlimited width, of the published kind. Good for ranks:
    how high a network gets depends on its training far more."""
    per_depth, per_width = fitted()
    return float(per_depth * np.log(member.depth) - per_width / member.channels)


@cache
def fitted() -> tuple[float, float]:
    """`b` and `k`, by least squares over `PUBLISHED`."""
    rows, decibels = [], []
    for number, figures in enumerate(PUBLISHED.values()):
        for member, value in figures.items():
            own = [float(number == paper) for paper in range(len(PUBLISHED))]
            rows.append([*own, np.log(member.depth), -1 / member.channels])
            decibels.append(value)
    solution = np.linalg.lstsq(np.array(rows), np.array(decibels), rcond=None)[0]
    return float(solution[-2]), float(solution[-1])

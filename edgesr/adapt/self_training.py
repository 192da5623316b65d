"""ZSSR: learn to enlarge an image from the image itself, in thousands of steps.

Shocher et al., CVPR 2018, section 3: the image is reduced with its own kernel, and a network
learns to undo that. More pairs come from smaller copies of the image (each a "father" whose
reduction is its "son"), turned and mirrored. Left out here: the average over eight turned results
and the back-projection at the end, which are no part of the learning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from edgesr.adapt.step import check_size, placed
from edgesr.adapt.tasks import KernelTasks
from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.degradations.gaussian import Kernel, Method
from edgesr.data.images import Image
from edgesr.models.mzsr import MZSR

_SHRINKS = (1.0, 0.9, 0.8, 0.7, 0.6)
"""Fathers: copies of the image at these sizes, the larger ones drawn more often."""

_WARM_UP = 50
"""Steps."""


@dataclass(frozen=True)
class SelfTraining:
    """How long and how fast."""

    steps: int = 3000
    crop: int = 128
    """Side of the square cut out of a father, in pixels; smaller images give all they have."""
    rate: float = 1e-3
    final_rate: float = 1e-6
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """A cosine down to `final_rate`; before it a warm-up.

        Adam's first steps are as large as its later ones, and from a last layer of zeros they
        would throw the image off so far that the layers before it die.
        """
        warm = min(1.0, (step + 1) / _WARM_UP)
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return warm * (self.final_rate + (self.rate - self.final_rate) * cosine)


def self_train(
    module: MZSR,
    image: Image,
    kernel: Kernel,
    schedule: SelfTraining = SelfTraining(),
    *,
    method: Method = "direct",
) -> Iterator[MZSR]:
    """Train a copy of `module` on `image`, step by step; the last one yielded is the result.

    Args:
        module: of random weights (`zssr`), or a trained one.
        image: uint8 HxWx3, low resolution.
        kernel: the blur it was made with, sum 1.
        method: what followed the blur.

    Raises:
        UsageError: the image is smaller than the kernel.
    """
    check_size(image, kernel, module.scale)
    learner = placed(module, kernel, method).train().requires_grad_(True)
    tasks = KernelTasks(
        _fathers(image, kernel, module.scale),
        module.scale,
        patch=_patch(image, schedule.crop, module.scale),
        kernel=kernel,
        method=method,
    )
    optimizer = torch.optim.Adam(learner.parameters(), lr=schedule.rate)
    for step in range(schedule.steps):
        optimizer.param_groups[0]["lr"] = schedule.rate_at(step)
        task = tasks.draw(np.random.default_rng([schedule.seed, step]), 1)
        loss = F.l1_loss(learner(task.low), task.high)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield learner
    learner.eval().requires_grad_(False)


def _patch(image: Image, crop: int, scale: int) -> int:
    side: int = min(crop, *image.shape[:2])
    return side - side % scale**2


def _fathers(image: Image, kernel: Kernel, scale: int) -> list[Image]:
    """The image and smaller copies of it, as long as something can be learned from them."""
    fathers = [imresize(image, shrink) if shrink < 1 else image for shrink in _SHRINKS]
    least = max(*kernel.shape, 4 * scale)
    kept = [father for father in fathers if min(father.shape[:2]) >= least]
    return [crop_to_multiple(father, scale**2) for father in kept]

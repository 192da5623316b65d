"""What all strategies share: the loss is reconstruction plus weighted knowledge.

    loss = reconstruction(sr, hr) + weight * knowledge(student, teacher)

Whatever a strategy learns besides the student (1x1 maps between feature spaces, an assistant) are
its own parameters: they train along and are left behind when the student is saved.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.network import Network
from edgesr.train.distil.features import Maps, choose_points, with_maps
from edgesr.train.distil.teacher import Teacher
from edgesr.train.objective import Reconstruction
from edgesr.train.unit import Unit


@dataclass(frozen=True)
class Seen:
    """One batch as student and teacher see it; images NCHW in [0, 1], all float32."""

    lr: Tensor
    hr: Tensor
    student_image: Tensor
    student_maps: Maps
    teacher_image: Tensor
    teacher_maps: Maps


class Distillation(nn.Module):
    """An objective with a teacher.

    Args:
        student: the network that will be trained.
        teacher: asked for its image and maps of every batch.
        weight: of the knowledge; None takes the strategy's own.
        reconstruction: loss against the original.
    """

    title: ClassVar[str]
    """Name and venue of the paper."""
    own_weight: ClassVar[float] = 1.0
    across_scales: ClassVar[bool] = False

    def __init__(
        self,
        student: Network,
        teacher: Teacher,
        *,
        weight: float | None = None,
        reconstruction: Reconstruction | None = None,
    ) -> None:
        super().__init__()
        teacher.check(student, same_scale=not self.across_scales)
        # Neither is a submodule: not to be trained, saved, or shared between processes.
        self.teacher = _Aside(teacher)
        self.weight = self.own_weight if weight is None else weight
        self.reconstruction = reconstruction or Reconstruction()
        self.points = choose_points(student, len(teacher.points.names))
        count = min(len(self.points.names), len(teacher.points.names))
        # The last ones, which are nearest to the image, when one trunk is shorter.
        self.pairs = list(range(-count, 0))

    def forward(self, student: Unit, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        known = self.teacher.held(lr)
        image, maps = with_maps(student.module, self.points.names, lambda: student(lr))
        # Distances between nearly equal maps have too few digits in bfloat16.
        with torch.autocast(lr.device.type, enabled=False):
            loss = self.reconstruction.of(image, lr, hr, done)
            seen = Seen(
                lr, hr, image, [maps[i] for i in self.pairs],
                known.image, [known.maps[i] for i in self.pairs],
            )  # fmt: skip
            return loss + self.weight * self.knowledge(seen)

    @abstractmethod
    def knowledge(self, seen: Seen) -> Tensor:
        """The scalar that is small when the student knows what the teacher knows."""


class _Aside:
    """Holds what `nn.Module` must not find: assigned modules would become submodules."""

    def __init__(self, held: Teacher) -> None:
        self.held = held


class Adapters(nn.Module):
    """Student maps in the teacher's channels: one learned 1x1 convolution per pair.

    They exist in training only; the deployed student has its own channels.
    """

    def __init__(self, distillation: Distillation) -> None:
        super().__init__()
        teacher = distillation.teacher.held.points
        self.maps = nn.ModuleList(
            nn.Conv2d(distillation.points.channels[i], teacher.channels[i], 1)
            for i in distillation.pairs
        )

    def forward(self, student: Maps) -> Maps:
        return [adapt(m) for adapt, m in zip(self.maps, student, strict=True)]


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller height and width of the two, by averaging."""
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return (
        a if a.shape[2:] == size else F.adaptive_avg_pool2d(a, size),
        b if b.shape[2:] == size else F.adaptive_avg_pool2d(b, size),
    )


def better(one: Tensor, other: Tensor, hr: Tensor) -> Tensor:
    """1 for the patches on which `one` is nearer to the original than `other`, else 0; N values."""
    errors = [(image - hr).abs().mean((1, 2, 3)) for image in (one, other)]
    return (errors[0] < errors[1]).float()


def mean_of(values: list[Tensor]) -> Tensor:
    """The mean of scalars, one per pair of maps."""
    return torch.stack(values).mean()

"""TAS: teacher, assistant, student, across resolutions.

A student learns little from a teacher far above it; an assistant of a size between hands the
knowledge on (Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020).
In super-resolution the teacher may also see more: a smaller scale is an easier task, so a x2
teacher, given the original reduced by 2, teaches a x4 student (after Yoon et al., "TAKDSR", IEEE
Access 2023, whose teacher sees the high-resolution image).

    assistant:  |sr_A - hr| + |sr_A - sr_T|
    student:    |sr_S - stop(sr_A)| on the patches where sr_A is nearer to hr than sr_S

The assistant learns along and vanishes; nothing flows from the student into it. It may know less
than its student at first, hence the choice of patches, which is ours.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from edgesr.errors import UsageError
from edgesr.network import Network
from edgesr.train.distil.strategy import Distillation, Seen, better
from edgesr.train.distil.teacher import Teacher
from edgesr.train.losses import l1
from edgesr.train.unit import Unit


class TAS(Distillation):
    """The assistant's image is the student's second target.

    Args:
        assistant: a network of the student's scale and colour, of a size between; it is trained.
    """

    title = "TAS (after TAKD, AAAI 2020)"
    across_scales = True

    def __init__(
        self, student: Network, teacher: Teacher, *, assistant: Network, **options: Any
    ) -> None:
        super().__init__(student, teacher, **options)
        if (assistant.scale, assistant.colour) != (student.scale, student.colour):
            raise UsageError(
                f"the assistant `{assistant.name}` must have the scale and colour of the student "
                f"`{student.name}`"
            )
        self.assistant = Unit(assistant.module.train(), assistant.value_range)
        self.teacher_scale = teacher.network.scale
        self.same_scale = self.teacher_scale == student.scale

    def forward(self, student: Unit, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        known = self.teacher.held(lr if self.same_scale else reduced(hr, self.teacher_scale))
        seen = Seen(lr, hr, student(lr), [], known.image, [])
        known_by_student = self.knowledge(seen)
        image_loss = self.reconstruction.of(seen.student_image, lr, hr, done)
        loss: Tensor = image_loss + self.weight * known_by_student
        return loss

    def knowledge(self, seen: Seen) -> Tensor:
        image = self.assistant(seen.lr)
        own = l1(image, seen.hr) + l1(image, seen.teacher_image)
        target = image.detach()
        worth = better(target, seen.student_image.detach(), seen.hr)
        distance = (seen.student_image - target).abs().mean((1, 2, 3))
        taught: Tensor = (worth * distance).mean() + own
        return taught


def reduced(hr: Tensor, scale: int | tuple[float, float]) -> Tensor:
    """The original at the resolution the teacher enlarges from, by antialiased bicubic.

    Raises:
        UsageError: sides that do not divide by the teacher's scale.
    """
    if not isinstance(scale, int) or hr.shape[2] % scale or hr.shape[3] % scale:
        raise UsageError(
            f"patches of {hr.shape[3]}x{hr.shape[2]} do not divide by the teacher's scale {scale}"
        )
    size = (hr.shape[2] // scale, hr.shape[3] // scale)
    return F.interpolate(hr, size, mode="bicubic", antialias=True).clamp(0, 1)

"""MKD: Zhu, Chen, Liu, "Learning Knowledge Representation with Meta Knowledge Distillation for
Single Image Super-Resolution", arXiv 2207.08356.

What is handed on is learned, too. A knowledge representation network (KRNet) per pair of maps
looks at both and their correlation, generates texture kernels for this patch, filters both sides
with them, and the student is asked for the teacher's response:

    L_KR(theta, phi) = mean_i mean (k_i * P_i f_S,i - k_i * Q_i f_T,i)^2
    k_i              = KRNet_i(f_S,i, f_T,i; phi)

KRNets learn by the only measure that counts, whether a student taught by them restores better
(bi-level, one step ahead):

    theta' = theta - alpha grad_theta L_KR(theta, phi)
    phi   <- phi - rate grad_phi |S(lr; theta') - hr|

The student's own step holds phi fixed. Sizes of the KRNets are ours; kernels have norm 1, so that
saying nothing is no way to be right; the distance is squared, since the step ahead is derived
through a gradient, and that of an absolute value is constant nearly everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from edgesr.train.distil.features import Maps, with_maps
from edgesr.train.distil.strategy import Distillation, Seen, mean_of, same_size
from edgesr.train.losses import l1
from edgesr.train.unit import Unit

_WIDTH = 16
_KERNEL = 3


class KRNet(nn.Module):
    """Both maps, filtered with kernels generated from them.

    Args:
        student, teacher: channels of the maps.
        width: channels both are taken to.
    """

    def __init__(self, student: int, teacher: int, width: int = _WIDTH) -> None:
        super().__init__()
        self.from_student = nn.Conv2d(student, width, 1)
        self.from_teacher = nn.Conv2d(teacher, width, 1)
        self.kernels = nn.Linear(3 * width, width * _KERNEL**2)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The knowledge the student lacks: a scalar."""
        s, t = same_size(self.from_student(student), self.from_teacher(teacher))
        correlation = F.cosine_similarity(s.flatten(2), t.flatten(2), dim=2)
        summary = torch.cat([s.mean((2, 3)), t.mean((2, 3)), correlation], dim=1)
        count, width = s.shape[:2]
        kernels = F.normalize(self.kernels(summary).view(count * width, _KERNEL**2), dim=1)
        kernels = kernels.view(-1, 1, _KERNEL, _KERNEL)
        # A grouped convolution filters every channel of every patch with a kernel of its own.
        difference = (s - t).reshape(1, count * width, *s.shape[2:])
        return F.conv2d(difference, kernels, groups=count * width).square().mean()


class MKD(Distillation):
    """Learned knowledge, learned to be useful.

    Args:
        ahead: learning rate alpha of the step ahead.
        period: steps between updates of the KRNets; each costs three passes of the student.
    """

    title = "MKD (arXiv 2207.08356)"
    own_weight = 0.002

    def __init__(self, *args: Any, ahead: float = 0.01, period: int = 10, **options: Any) -> None:
        super().__init__(*args, **options)
        teacher = self.teacher.held.points
        self.representations = nn.ModuleList(
            KRNet(self.points.channels[i], teacher.channels[i]) for i in self.pairs
        )
        self.ahead, self.period = ahead, period
        self.steps: Tensor
        # Part of the state: a resumed run looks ahead in the same steps.
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, student: Unit, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        loss = super().forward(student, lr, hr, done)
        with torch.autocast(lr.device.type, enabled=False):
            if int(self.steps) % self.period == 0:
                loss = loss + self.look_ahead(student, lr, hr)
            else:
                # DDP waits for a gradient of every parameter.
                loss = loss + 0 * sum(p.sum() for p in self.representations.parameters())
        self.steps += 1
        return loss

    def knowledge(self, seen: Seen) -> Tensor:
        fixed = {name: p.detach() for name, p in self.representations.named_parameters()}
        return self._lacking(seen.student_maps, seen.teacher_maps, fixed)

    def look_ahead(self, student: Unit, lr: Tensor, hr: Tensor) -> Tensor:
        """The student's error after a step of distillation; its gradient reaches KRNets only."""
        known = self.teacher.held(lr)
        learning = dict(self.representations.named_parameters())
        now = {name: p.detach().requires_grad_() for name, p in student.named_parameters()}
        _, maps = with_maps(
            student.module, self.points.names, lambda: functional_call(student, now, (lr,))
        )
        lacking = self._lacking(
            [maps[i] for i in self.pairs], [known.maps[i] for i in self.pairs], learning
        )
        gradients = torch.autograd.grad(
            lacking, list(now.values()), create_graph=True, allow_unused=True
        )
        after = {
            name: value if gradient is None else value - self.ahead * gradient
            for (name, value), gradient in zip(now.items(), gradients, strict=True)
        }
        return l1(functional_call(student, after, (lr,)), hr)

    def _lacking(self, student: Maps, teacher: Maps, parameters: Mapping[str, Tensor]) -> Tensor:
        terms = []
        for index, (s, t) in enumerate(zip(student, teacher, strict=True)):
            own = {
                name.removeprefix(f"{index}."): value
                for name, value in parameters.items()
                if name.startswith(f"{index}.")
            }
            terms.append(functional_call(self.representations[index], own, (s, t)))
        return mean_of(terms)

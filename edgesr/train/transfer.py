"""What a network for any scale learns from networks made for one.

Wang et al., ICCV 2021, section 3.4: at the scales of a teacher its features are an example to the
features after an adaption, here through a 1x1 convolution per teacher (FitNets, Romero et al., ICLR
2015), as the teachers were not trained from one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.errors import UsageError
from edgesr.models.any_scale import AnyScale
from edgesr.models.arbsr import AdaptedTrunk, ArbPlain, ArbResidual, ScaleAwareAdaption
from edgesr.models.edsr import EDSR
from edgesr.models.plain import Plain
from edgesr.network import Network
from edgesr.scales import Scale

Body = tuple[Callable[[Tensor], Tensor], list[Callable[[Tensor], Tensor]]]


class Transfer(nn.Module):
    """The loss of a student's features against those of the teacher of the same scale.

    Args:
        teachers: by scale; of the kind that the student's body is.
        student: ArbSR around Plain or EDSR.

    Raises:
        UsageError: a teacher of another kind.
    """

    def __init__(self, teachers: Mapping[int, Network], student: AnyScale) -> None:
        super().__init__()
        self._range = next(iter(teachers.values())).value_range
        self._bodies = {scale: _body_of(teacher, student) for scale, teacher in teachers.items()}
        trunk = student.get_submodule("trunk")
        assert isinstance(trunk, AdaptedTrunk)
        self._every, channels = trunk.every, trunk.channels
        self.translate = nn.ModuleDict(
            {str(scale): nn.Conv2d(channels, channels, 1) for scale in teachers}
        )
        for conv in self.translate.values():
            nn.init.dirac_(conv.weight)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self._seen: list[Tensor] = []
        for adaption in trunk.adaptions:
            adaption.register_forward_hook(lambda *args: self._seen.append(args[-1]))

    def forward(self, x: Tensor, scale: Scale) -> Tensor:
        """After the student has run on `x`; zero at scales without a teacher."""
        seen, self._seen = self._seen, []
        body = self._bodies.get(scale) if isinstance(scale, int) else None
        if body is None:
            return torch.zeros(())
        enter, stages = body
        with torch.no_grad():
            features, taught = enter(x), []
            for index, stage in enumerate(stages, 1):
                features = stage(features)
                if index % self._every == 0:
                    taught.append(features)
        translate = self.translate[str(scale)]
        losses = [F.l1_loss(translate(a), b) for a, b in zip(seen, taught, strict=True)]
        return torch.stack(losses).float().mean() / self._range


def warm_start(student: AnyScale, teacher: Network) -> None:
    """Give a student a teacher's body, and adaptions that change nothing yet.

    Raises:
        UsageError: a teacher of another kind.
    """
    _body_of(teacher, student)
    trunk = student.get_submodule("trunk")
    assert isinstance(trunk, AdaptedTrunk)
    module = teacher.module
    if isinstance(module, Plain):
        _copy((stage[0] for stage in trunk.stages), module.body)  # type: ignore[index]
    else:
        _copy(trunk.stages, module.get_submodule("blocks").children())
        for name in ("head", "fuse"):
            _copy([student.get_submodule(name)], [module.get_submodule(name)])
    for adaption in trunk.adaptions:
        assert isinstance(adaption, ScaleAwareAdaption)
        nn.init.zeros_(adaption.adapt.experts)


def _copy(to: Iterable[nn.Module], source: Iterable[nn.Module]) -> None:
    for one, other in zip(to, source, strict=True):
        one.load_state_dict(other.state_dict())


def _body_of(teacher: Network, student: AnyScale) -> Body:
    """What makes the first features, and the stages after it."""
    module = teacher.module
    if isinstance(module, Plain) and isinstance(student, ArbPlain):
        return (lambda x: x), [_activated(conv) for conv in module.body]
    if isinstance(module, EDSR) and isinstance(student, ArbResidual):
        return (lambda x: module.head(x - module.mean)), list(module.blocks)
    raise UsageError(
        f"`{teacher.name}` cannot teach this network: its features are of another kind; Plain "
        "teaches arbsr-plain, EDSR-baseline arbsr-edsr-baseline"
    )


def _activated(conv: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda features: F.relu(conv(features))

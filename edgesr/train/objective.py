"""What a step minimizes.

An objective is called with the student (a `Unit`: pixels in [0, 1]), one batch and the share of
the run that is done, and returns a scalar. It may be an `nn.Module`: its parameters then learn
along with the student, are kept in the state of the run, and are no part of the result.

    def objective(student: Unit, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        return (student(lr) - hr).abs().mean()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from edgesr.train.losses import LOSSES, l2
from edgesr.train.unit import Unit

Objective = Callable[[Unit, Tensor, Tensor, float], Tensor]

_SQUARED = 25.0
"""Weight of L2 in the last phase: its gradients stay in the range the rate was chosen for."""


class Reconstruction(nn.Module):
    """A weighted sum of losses between the student's image and the original.

    Args:
        weights: names of `LOSSES` to weights.
        squared_from: share of the run after which the loss is L2, which is what PSNR measures;
            1 keeps the weighted losses to the end.
    """

    def __init__(
        self, weights: Mapping[str, float] | None = None, squared_from: float = 0.85
    ) -> None:
        super().__init__()
        self.weights = dict(weights or {"l1": 1.0})
        self.losses = nn.ModuleDict({name: LOSSES[name]() for name in self.weights})
        self.squared_from = squared_from

    def forward(self, student: Unit, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        return self.of(student(lr), lr, hr, done)

    def of(self, sr: Tensor, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        """The loss of an image that is at hand already."""
        if done >= self.squared_from:
            return _SQUARED * l2(sr, hr)
        parts = [w * self.losses[name](sr, hr, lr) for name, w in self.weights.items()]
        total: Tensor = sum(parts[1:], start=parts[0])
        return total

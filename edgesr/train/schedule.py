"""How long and how fast to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgesr.train.optimizer import Name


@dataclass(frozen=True)
class Schedule:
    """Steps, batches and the learning rate of every step."""

    steps: int = 60_000
    batch: int = 16
    """Patches per step, over all processes together."""
    patch: int = 48
    """Side of an LR patch."""
    rate: float = 1e-3
    final_rate: float = 1e-6
    """Where the cosine ends."""
    warm_up: int = 500
    """Steps in which the rate grows linearly."""
    shape: Literal["cosine", "step"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
    """Shape `step`: shares of the steps at which the rate is multiplied by `factor`."""
    factor: float = 0.5
    optimizer: Name = "adam"
    """`soap` learns more per step and wants about three times Adam's rate."""
    clip: float = 1.0
    """Largest norm of a gradient; longer ones are shortened. 0 leaves them alone."""
    averaging: float = 0.999
    """Decay of the exponential moving average of the weights."""
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to `final_rate`, or steps down by `factor`."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        if self.shape == "step":
            passed = sum(step >= share * self.steps for share in self.milestones)
            return self.rate * self.factor**passed
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.final_rate + (self.rate - self.final_rate) * (1 + math.cos(math.pi * done)) / 2

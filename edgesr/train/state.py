"""What a run is, in memory and in the file it goes on from after a stop."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesr.data.images import written_beside
from edgesr.errors import BadFileError, CheckpointError, EnvironmentLimitError
from edgesr.train.progress import Progress


def write_state(content: dict[str, Any], path: Path) -> None:
    """Write beside, then rename: a kill leaves the old state or the new one.

    Raises:
        EnvironmentLimitError: the disk is full, the folder read-only.
    """
    try:
        with written_beside(path) as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch's zip writer hides what the file system said
        raise EnvironmentLimitError(f"cannot write {path}: {error}; is the disk full?") from error


def read_state(path: Path, *needed: str) -> dict[str, Any]:
    """What `write_state` wrote, with these keys.

    Raises:
        BadFileError: not a state, or damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if all(key in content for key in needed):
            return content
        raise KeyError(*needed)
    except Exception as error:  # torch reads hostile bytes with almost any exception
        raise BadFileError(
            f"{path} is not the state of a training run, or damaged; delete it to begin again"
        ) from error


@dataclass
class State:
    """Everything a step changes."""

    module: nn.Module
    objective: nn.Module
    """Empty unless the objective learns, too."""
    optimizer: torch.optim.Optimizer
    average: nn.Module = field(init=False)
    """Exponential moving average of `module`: what the run results in."""
    step: int = 0
    """Steps done."""
    history: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = deepcopy(self.module).requires_grad_(False).eval()

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """`average += (1 - decay) (module - average)`; buffers (statistics) are copied."""
        kept = [p.detach() for p in self.average.parameters()]
        new = [p.detach() for p in self.module.parameters()]
        torch._foreach_lerp_(kept, new, 1 - decay)
        for counted, newest in zip(self.average.buffers(), self.module.buffers(), strict=True):
            counted.copy_(newest)

    def save(self, path: Path) -> None:
        """Write beside, then rename: a kill leaves the old state or the new one.

        Raises:
            EnvironmentLimitError: the disk is full, the folder read-only.
        """
        content = {
            "step": self.step,
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [entry.row() for entry in self.history],
        }
        write_state(content, path)

    def resume(self, path: Path) -> None:
        """Go on from a file; without one, from the start.

        Raises:
            BadFileError: not a state, or damaged.
            CheckpointError: the state of another network or objective.
        """
        if not path.exists():
            return
        content = read_state(path, "step", "module", "average", "optimizer")
        try:
            self.module.load_state_dict(content["module"])
            self.average.load_state_dict(content["average"])
            self.objective.load_state_dict(content.get("objective", {}))
            self.optimizer.load_state_dict(content["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path} is the state of another network or objective; give this run a folder of "
                "its own"
            ) from error
        self.step = int(content["step"])
        self.history = [Progress.of(row) for row in content.get("history", [])]

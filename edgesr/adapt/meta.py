"""Meta-transfer training: weights from which one gradient step on one image goes far.

MAML (Finn et al., ICML 2017) as MZSR (Soh et al., CVPR 2020, algorithm 1) uses it. A task is a
blur kernel; a few steps of plain gradient descent learn it; the meta gradient is that of the loss
afterwards, with respect to the weights before:

    w_k = w_(k-1) - rate * grad L(w_(k-1); support),      meta loss = L(w_k; query)

First order takes the steps' gradients as constants, second order differentiates through them.
With no steps at all this is ordinary training over all kernels, the "large-scale training" that
meta-transfer starts from.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from edgesr.adapt.tasks import KernelTasks, Task
from edgesr.bfloat16 import where_fast
from edgesr.manifest import write_atomically
from edgesr.train.optimizer import Name, optimizer_for
from edgesr.train.state import read_state, write_state

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class MetaSchedule:
    """How long, how fast, and what is one step."""

    steps: int = 3000
    tasks: int = 2
    """Per step."""
    patches: int = 4
    """Of one photo, per task."""
    inner_steps: tuple[int, ...] = (1, 2, 3, 4, 5)
    """A task's number of gradient steps is drawn from these, which in expectation is the multi-step
    loss with equal weights; (0,) is ordinary training."""
    inner_rate: float = 0.01
    second_order: bool = False
    external: bool = False
    """Learn a task from pairs of low and high resolution, as MZSR does, and not from the reduced
    image as at test time (MLSR): half of the patches teach, the others judge."""
    optimizer: Name = "adam"
    """Of the meta gradient; the steps on a task are always plain gradient descent."""
    rate: float = 1e-4
    final_rate: float = 1e-6
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """A cosine down to `final_rate`, after 100 steps of warm-up."""
        warm = min(1.0, (step + 1) / 100)
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return warm * (self.final_rate + (self.rate - self.final_rate) * cosine)


def adapted(
    module: nn.Module,
    weights: Weights,
    low: Tensor,
    high: Tensor,
    rates: Sequence[float],
    *,
    second_order: bool = False,
) -> Iterator[Weights]:
    """The weights after each step of gradient descent on the L1 loss.

    Args:
        module: in training mode, so that nothing is clipped.
        weights: its parameters by name; not changed.
        low, high: B x 3 x h x w and B x 3 x sh x sw.
        rates: one per step.
        second_order: let a later gradient flow through the steps.
    """
    for rate in rates:
        loss = F.l1_loss(functional_call(module, weights, (low,)), high)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=second_order)
        steps = zip(weights.items(), gradients, strict=True)
        weights = {name: weight - rate * gradient for (name, weight), gradient in steps}
        yield weights


def meta_loss(module: nn.Module, task: Task, schedule: MetaSchedule, inner_steps: int) -> Tensor:
    """The loss on the task's query after `inner_steps` steps on its support."""
    weights: Weights = dict(module.named_parameters())
    support, query = (task.son, task.low), (task.low, task.high)
    if schedule.external:
        half = len(task.low) // 2
        support = task.low[:half], task.high[:half]
        query = task.low[half:], task.high[half:]
    rates = [schedule.inner_rate] * inner_steps
    for after in adapted(module, weights, *support, rates, second_order=schedule.second_order):
        weights = after
    return F.l1_loss(functional_call(module, weights, (query[0],)), query[1])


def meta_train(
    module: nn.Module,
    tasks: KernelTasks,
    out: Path,
    schedule: MetaSchedule,
    *,
    judge: Callable[[nn.Module], dict[str, float]] | None = None,
    every: int = 250,
    keep: Container[int] = (),
) -> nn.Module:
    """Train `module` in place; the same call again goes on where it stopped.

    Writes `state.pt` and `log.csv` (step, seconds, loss, what `judge` says) into `out` every
    `every` steps; and what the weights are after the steps in `keep`, as `step-000050.safetensors`.
    """
    out.mkdir(parents=True, exist_ok=True)
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = optimizer_for(module.parameters(), schedule.optimizer, schedule.rate)
    state = out / "state.pt"
    first = 0
    if state.exists():
        saved = read_state(state, "step", "module", "optimizer")
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        first = int(saved["step"])
    losses: list[float] = []
    began = time.monotonic()
    for step in range(first, schedule.steps):
        # Step and seed alone decide what is drawn, so a resumed run sees the same tasks.
        rng = np.random.default_rng([schedule.seed, step])
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        optimizer.zero_grad(set_to_none=True)
        for _ in range(schedule.tasks):
            task = tasks.draw(rng, schedule.patches)
            with where_fast():
                loss = meta_loss(module, task, schedule, int(rng.choice(schedule.inner_steps)))
            (loss / schedule.tasks).backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        if step + 1 in keep:
            write_atomically(out / snapshot_name(step + 1), save(_contiguous(module.state_dict())))
        if (step + 1) % every == 0 or step + 1 == schedule.steps:
            content = {"step": step + 1, "module": module.state_dict()}
            write_state({**content, "optimizer": optimizer.state_dict()}, state)
            facts = {"loss": float(np.mean(losses))} | (judge(module.eval()) if judge else {})
            _log(out / "log.csv", {"step": step + 1, "seconds": time.monotonic() - began} | facts)
            module.train()
            losses.clear()
    return module.eval()


def snapshot_name(step: int) -> str:
    """The file that keeps the weights after so many steps."""
    return f"step-{step:06d}.safetensors"


def _contiguous(weights: Weights) -> Weights:
    return {name: weight.contiguous() for name, weight in weights.items()}


def _log(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})

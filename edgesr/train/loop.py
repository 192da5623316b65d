"""The training loop: patches in, an averaged network out, resumable to the step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from edgesr.data.images import written_beside
from edgesr.errors import CheckpointError
from edgesr.network import Network
from edgesr.train.engine import Engine
from edgesr.train.objective import Objective, Reconstruction
from edgesr.train.optimizer import optimizer_for
from edgesr.train.patches import luma
from edgesr.train.prefetch import ahead
from edgesr.train.progress import Progress, TensorBoard, write_csv
from edgesr.train.schedule import Schedule
from edgesr.train.state import State
from edgesr.train.unit import Unit
from edgesr.train.validation import Score, Validation

__all__ = ["Engine", "Progress", "Schedule", "train"]


class Patches(Protocol):
    """Where batches come from: `PatchCache`, or anything of this form."""

    def batch(self, step: int, size: int, patch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """LR and HR of one step, NCHW in [0, 1]; the arguments alone decide them."""


class _Loss(nn.Module):
    """Objective of student: one forward pass, so that DDP sees every parameter that learns."""

    def __init__(self, student: Unit, objective: Objective, mixed: bool) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        self.mixed = mixed

    def forward(self, lr: Tensor, hr: Tensor, done: float) -> Tensor:
        # Not Fabric's mixed precision: it rounds the originals to bfloat16, 8 bits and less.
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.mixed):
            return self.objective(self.student, lr, hr, done)


def train(
    network: Network,
    patches: Patches,
    out: Path,
    schedule: Schedule,
    *,
    objective: Objective | None = None,
    validation: Validation | None = None,
    every: int = 1000,
    report: Callable[[Progress], None] = lambda progress: None,
    engine: Engine = Engine(),  # noqa: B008  (frozen)
) -> nn.Module:
    """Train `network.module` and return its averaged copy, in evaluation mode.

    Writes `state.pt` (to resume from), `log.csv` and, with validation, `pictures.png` into `out`
    every `every` steps. Starting again with the same `out` goes on where it stopped and ends with
    the same weights, bit for bit: batches and random numbers depend on the step alone.

    Args:
        network: what to train; luma networks get the luma of the patches.
        patches: training data.
        out: folder of this run.
        objective: what to minimize; L1, then L2 at the end by default.
        validation: judges the average; `PsnrOn` does by PSNR.
        every: steps between reports, each of which is also a state to go on from.
        report: called with each.
        engine: device, precision, threads.

    Raises:
        CheckpointError: the loss is no number any more; the state is of another network.
        UsageError: the batch does not divide by the processes.
        EnvironmentLimitError: the disk is full; the optimizer's package is missing.
    """
    fabric = engine.start(schedule.batch)
    minimized = objective or Reconstruction()
    layout = torch.channels_last if engine.channels_last else torch.contiguous_format
    module = network.module.to(memory_format=layout).train()  # type: ignore[call-overload]
    loss_of = _Loss(Unit(module, network.value_range), minimized, engine.mixed(fabric.device.type))
    learning = [p for p in loss_of.parameters() if p.requires_grad]
    optimizer = optimizer_for(learning, schedule.optimizer, schedule.rate)
    own = minimized if isinstance(minimized, nn.Module) else nn.Module()
    state = State(module, own, optimizer)
    state.resume(out / "state.pt")
    if engine.compile:
        module.compile()
    forward, update = fabric.setup(loss_of, optimizer)
    state.average.to(fabric.device)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        pair = patches.batch(step, schedule.batch, schedule.patch, schedule.seed)
        if network.colour == "y":
            pair = luma(pair[0]), luma(pair[1])
        lr, hr = (side[fabric.global_rank :: fabric.world_size] for side in pair)
        if not engine.channels_last:  # else they are, as patches are cut
            lr, hr = lr.contiguous(), hr.contiguous()
        return fabric.to_device(lr), fabric.to_device(hr)

    log = _Log(out, state, schedule, network, validation, report, fabric, engine)
    batches = ahead(batch, state.step, schedule.steps, engine.workers)
    for step in range(state.step, schedule.steps):
        rate = schedule.rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        lr, hr = log.timed(batches)
        # Whatever an objective draws depends on the step, not on what was drawn before a stop.
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        loss = forward(lr, hr, step / schedule.steps)
        update.zero_grad(set_to_none=True)
        fabric.backward(loss)
        if schedule.clip:
            nn.utils.clip_grad_norm_(learning, schedule.clip)
        update.step()
        state.step = step + 1
        state.update_average(min(schedule.averaging, (1 + step) / (10 + step)))
        log.add(loss.detach())
        if state.step % every == 0 or state.step == schedule.steps:
            log.write(rate)
    log.close()
    return state.average


class _Log:
    """Counts between reports; writes state, log and pictures at each."""

    def __init__(
        self, out: Path, state: State, schedule: Schedule, network: Network,
        validation: Validation | None, report: Callable[[Progress], None], fabric: Any,
        engine: Engine,
    ) -> None:  # fmt: skip
        self.out, self.state, self.schedule, self.fabric = out, state, schedule, fabric
        self.average = Unit(state.average, network.value_range)
        self.validation, self.report = validation, report
        self.first, self.began = state.step, time.monotonic()
        self.losses: list[Tensor] = []
        self.waited, self.since = 0.0, self.began
        wanted = engine.tensorboard and fabric.is_global_zero
        self.board = TensorBoard(out / "tensorboard", state.step) if wanted else None

    def timed(self, batches: Any) -> tuple[Tensor, Tensor]:
        began = time.monotonic()
        lr, hr = next(batches)
        self.waited += time.monotonic() - began
        return lr, hr

    def add(self, loss: Tensor) -> None:
        # Kept as tensors: asking a GPU for a number makes it wait.
        self.losses.append(loss)

    def write(self, rate: float) -> None:
        loss = float(self.fabric.all_reduce(torch.stack(self.losses).mean()))
        if not np.isfinite(loss):
            raise CheckpointError(
                f"training diverged before step {self.state.step}: the loss is {loss}; start "
                f"again from {self.out / 'state.pt'} with a rate below {rate:.2g}"
            )
        if self.fabric.is_global_zero:
            self._write(loss, rate)
        self.fabric.barrier()
        self.losses, self.waited, self.since = [], 0.0, time.monotonic()

    def _write(self, loss: float, rate: float) -> None:
        state, now = self.state, time.monotonic()
        score = self.validation(self.average) if self.validation else Score(0.0, "")
        left = (now - self.began) / (state.step - self.first) * (self.schedule.steps - state.step)
        entry = Progress(
            state.step, self.schedule.steps, loss, score.decibels if self.validation else None,
            left, rate, self.waited / max(now - self.since, 1e-9), score.protocol,
        )  # fmt: skip
        state.history.append(entry)
        state.save(self.out / "state.pt")
        write_csv(self.out / "log.csv", state.history)
        if score.pictures is not None:
            with written_beside(self.out / "pictures.png") as file:
                Pillow.fromarray(score.pictures).save(file, "PNG")
        if self.board:
            self.board.add(entry, score.pictures)
        self.report(entry)

    def close(self) -> None:
        if self.board:
            self.board.close()

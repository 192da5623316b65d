"""The training loop: patches in, an averaged network out, resumable to the step."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.colour import join, split
from edgesr.metrics.psnr import psnr
from edgesr.train.patches import PatchCache, find_images, luma


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int = 60_000
    batch: int = 16
    patch: int = 48
    """Side of an LR patch."""
    rate: float = 1e-3
    final_rate: float = 1e-6
    warm_up: int = 500
    squared_from: float = 0.85
    """Share of the steps after which the loss turns from L1 to L2, which is what PSNR measures."""
    averaging: float = 0.999
    """Decay of the exponential moving average of the weights."""
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to `final_rate`."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.final_rate + (self.rate - self.final_rate) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Progress:
    """What the loop reports now and then."""

    step: int
    steps: int
    loss: float
    validation: float | None
    """Y-PSNR in dB, mean over the validation images, literature protocol."""
    seconds_left: float


def train(
    module: nn.Module,
    cache: PatchCache,
    out: Path,
    schedule: Schedule,
    *,
    colour: str = "rgb",
    validation: Path | None = None,
    every: int = 1000,
    report: Callable[[Progress], None] = lambda progress: None,
) -> nn.Module:
    """Train `module` and return its averaged copy, in evaluation mode.

    Writes `state.pt` (to resume from) and `log.csv` into `out` every `every` steps. Starting
    again with the same `out` goes on where it stopped and ends with the same weights.

    Args:
        module: maps LR to HR in [0, 1].
        cache: training patches.
        out: folder of this run.
        colour: `rgb`, or `y` for networks that see only luma.
        validation: folder of HR images.
    """
    out.mkdir(parents=True, exist_ok=True)
    # Layout alone makes a step twice as fast on CPUs (NHWC is what the kernels compute in).
    module = module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = deepcopy(module).requires_grad_(False).eval()
    optimizer = torch.optim.Adam(module.parameters(), lr=schedule.rate, betas=(0.9, 0.99))
    first = _resume(out / "state.pt", module, average, optimizer)
    held_out = find_images([validation]) if validation else []
    started, loss_sum = time.monotonic(), 0.0
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        lr, hr = cache.batch(step, schedule.batch, schedule.patch, schedule.seed)
        if colour == "y":
            lr, hr = luma(lr), luma(hr)
        with torch.autocast("cpu", torch.bfloat16):
            sr = module(lr.contiguous(memory_format=torch.channels_last))
        squared = step >= schedule.squared_from * schedule.steps
        # L2 is scaled so that its gradients stay in the range the learning rate was chosen for.
        loss = 25 * F.mse_loss(sr.float(), hr) if squared else F.l1_loss(sr.float(), hr)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        _average(average, module, min(schedule.averaging, (1 + step) / (10 + step)))
        loss_sum += float(loss.detach())
        if (step + 1) % every == 0 or step + 1 == schedule.steps:
            value = validate(average, held_out, cache.scale, colour) if held_out else None
            _save(out / "state.pt", step + 1, module, average, optimizer)
            left = (time.monotonic() - started) / (step + 1 - first) * (schedule.steps - step - 1)
            progress = Progress(step + 1, schedule.steps, loss_sum / every, value, left)
            _log(out / "log.csv", progress)
            report(progress)
            loss_sum = 0.0
    return average


@torch.no_grad()
def validate(module: nn.Module, images: list[Path], scale: int, colour: str = "rgb") -> float:
    """Mean Y-PSNR in dB over `images`, literature protocol."""
    values = []
    for path in images:
        hr = crop_to_multiple(np.array(Image.open(path).convert("RGB")), scale)
        lr = imresize(hr, 1 / scale)
        if colour == "y":
            y, chroma = split(lr)
            sr = join(_enlarge(module, y), chroma)
        else:
            sr = _enlarge(module, lr)
        values.append(psnr(sr, hr, scale))
    return float(np.mean(values))


def _enlarge(module: nn.Module, lr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    x = torch.from_numpy(lr).permute(2, 0, 1)[None].float() / 255
    sr = module(x.contiguous(memory_format=torch.channels_last))[0].permute(1, 2, 0)
    pixels: npt.NDArray[np.uint8] = (sr * 255).round().clamp(0, 255).byte().numpy()
    return pixels


@torch.no_grad()
def _average(average: nn.Module, module: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for counted, newest in zip(average.buffers(), module.buffers(), strict=True):
        counted.copy_(newest)


def _save(
    path: Path, step: int, module: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    beside = path.with_suffix(".part")
    state = {
        "step": step,
        "module": module.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, beside)
    beside.replace(path)


def _resume(
    path: Path, module: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _log(path: Path, progress: Progress) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "loss", "validation_y_psnr"])
        writer.writerow([progress.step, f"{progress.loss:.6f}", progress.validation])

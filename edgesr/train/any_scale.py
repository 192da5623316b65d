"""Train ArbSR: a scale per batch, knowledge from networks made for one scale.

    python -m edgesr.train.any_scale --data BSDS400 --data T91 --out runs/arbsr-plain
    python -m edgesr.train.any_scale --network arbsr-edsr-baseline --teacher edsr-baseline-x2 ...

Wang et al., ICCV 2021, section 4.1: every batch has one scale, drawn at random; LR patches come
from MATLAB's bicubic. Features follow the teachers' (`transfer.py`).

The body starts as that of the last teacher; with `--start arbsr-plain-x2`, all starts as the
shipped weights. Optimizer: SOAP (docs/train.md). Goes on where it stopped when started again.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.allocator import keep_freed_memory
from edgesr.bfloat16 import where_fast
from edgesr.data.bicubic import imresize
from edgesr.data.images import SUFFIXES, read_image
from edgesr.errors import BadFileError, EdgesrError, UsageError
from edgesr.models import create
from edgesr.models.any_scale import AnyScale
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.scales import Scale, factors
from edgesr.train.optimizer import optimizer_for
from edgesr.train.state import read_state, write_state
from edgesr.train.transfer import Transfer, warm_start
from edgesr.train.unit import Unit

Pixels = npt.NDArray[np.uint8]

WHOLE: tuple[Scale, ...] = (2, 3, 4)
HALVES: tuple[Scale, ...] = tuple(
    (vertical / 2, horizontal / 2) for vertical in range(3, 9) for horizontal in range(3, 9)
)
"""1.5 to 4.0 in steps of 0.5 on both axes, the paper's asymmetric scales."""
HALFWAY: tuple[Scale, ...] = tuple((half, half) for half in (1.5, 2.5, 3.5))
"""What people ask for besides the whole scales."""
TENTHS: tuple[Scale, ...] = tuple((tenth / 10, tenth / 10) for tenth in range(11, 41))
"""1.1 to 4.0 in steps of 0.1, the paper's symmetric scales."""
SHARES = ((WHOLE, 0.3), (HALFWAY, 0.25), (HALVES, 0.3), (TENTHS, 0.15))
"""How often a batch's scale is drawn from each. Those of large periods are slow: drawn less."""

_PATCH = 40
_MARGIN = 10
"""LR pixels. Both times any tenth are whole, and the margin keeps the crop's border out."""
_TRANSFER = 0.1
"""Weight of the features' loss beside the image's."""
_TEACHERS = {
    "arbsr-plain": ("plain-m-x2", "plain-m-x4", "plain-m-x3"),
    "arbsr-edsr-baseline": ("edsr-baseline-x2",),
}
"""Shipped ones; students start with the last's body."""


class Photos:
    """HR images in memory, and random patches of them at any scale."""

    def __init__(self, folders: Sequence[Path]) -> None:
        files = sorted(
            file for folder in folders for file in folder.rglob("*")
            if file.suffix.lower() in SUFFIXES
        )  # fmt: skip
        smallest = (_PATCH + 2 * _MARGIN) * 4
        images = [read_image(file).pixels for file in files]
        self.images = [image for image in images if min(image.shape[:2]) >= smallest]
        if not self.images:
            where = ", ".join(map(str, folders))
            raise BadFileError(f"no image of {smallest} pixels a side below {where}")
        areas = np.array([image.shape[0] * image.shape[1] for image in self.images], np.float64)
        self._share = areas / areas.sum()

    def batch(self, rng: np.random.Generator, size: int, scale: Scale) -> tuple[Tensor, Tensor]:
        """LR and HR patches in [0, 1]."""
        pairs = [self._pair(rng, scale) for _ in range(size)]
        lr, hr = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
        return lr.permute(0, 3, 1, 2).float() / 255, hr.permute(0, 3, 1, 2).float() / 255

    def _pair(self, rng: np.random.Generator, scale: Scale) -> tuple[Pixels, Pixels]:
        image = self.images[int(rng.choice(len(self.images), p=self._share))]
        side = _PATCH + 2 * _MARGIN
        sizes = [round(side * factor) for factor in factors(scale)]
        y, x = (int(rng.integers(n - k + 1)) for n, k in zip(image.shape[:2], sizes, strict=True))
        hr = image[y : y + sizes[0], x : x + sizes[1]]
        # A turned crop is a crop of the turned image: the scale stays the batch's.
        if rng.integers(2) and sizes[0] == sizes[1]:
            hr = hr.swapaxes(0, 1)
        hr = hr[:: 1 if rng.integers(2) else -1, :: 1 if rng.integers(2) else -1]
        lr = _shrink(hr, side)
        top, left = (round(_MARGIN * factor) for factor in factors(scale))
        inner = hr[top : sizes[0] - top, left : sizes[1] - left]
        return lr[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN], np.ascontiguousarray(inner)


def _shrink(hr: Pixels, side: int) -> Pixels:
    """`imresize` to `side x side` as two matrix products, rounded after each as MATLAB does."""
    down, across = (_matrix(length, side) for length in hr.shape[:2])
    tall = _rounded(np.tensordot(down, hr.astype(np.float32), (1, 0)))
    return _rounded(np.tensordot(across, tall, (1, 1)).swapaxes(0, 1)).astype(np.uint8)


@cache
def _matrix(length: int, side: int) -> npt.NDArray[np.float32]:
    eye = np.eye(length, dtype=np.float32)[..., None]
    matrix: npt.NDArray[np.float32] = imresize(eye, (side / length, 1.0))[..., 0]
    return matrix


def _rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rounded: npt.NDArray[np.float32] = np.clip(np.floor(values + np.float32(0.5)), 0, 255)
    return rounded


def scale_of(rng: np.random.Generator) -> Scale:
    """A batch's scale."""
    group = SHARES[int(rng.choice(len(SHARES), p=[share for _, share in SHARES]))][0]
    scale = group[int(rng.integers(len(group)))]
    if isinstance(scale, tuple) and scale[0] == scale[1] == int(scale[0]):
        return int(scale[0])
    return scale


def train(
    photos: Photos,
    out: Path,
    *,
    network: str = "arbsr-plain",
    teachers: Sequence[str] = (),
    start: str = "",
    steps: int,
    batch: int = 8,
    rate: float = 2e-3,
    seed: int = 0,
    every: int = 250,
) -> nn.Module:
    """Train and return the averaged network; writes `state.pt` and `log.csv` into `out`.

    Args:
        photos: what to learn from.
        out: folder of the run.
        network: registry name without scale.
        teachers: shipped networks or checkpoints, each for one scale; by default those of ours
            that can teach `network`.
        start: shipped network or checkpoint of `network`; the last teacher's body by default.
        steps: of `batch` patches; the rate falls along a cosine.
        every: steps between states.

    Raises:
        UsageError: teachers that cannot teach this network; a start of another kind.
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    known = [load(name) for name in teachers or _TEACHERS[network]]
    begun = load(start) if start else _begun(network, known[-1])
    body = begun.module.requires_grad_(True).train()
    student: AnyScale = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average: AnyScale = deepcopy(student).requires_grad_(False).eval()
    transfer = Transfer({_whole(one): one for one in known}, student)
    learned = nn.ModuleList([student, transfer])
    unit = Unit(student, begun.value_range)
    optimizer = optimizer_for(learned.parameters(), "soap", rate)
    out.mkdir(parents=True, exist_ok=True)
    first = _resume(out / "state.pt", learned, average, optimizer)
    started, total = time.monotonic(), 0.0
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        for group in optimizer.param_groups:
            group["lr"] = rate * _share(step, steps)
        student.scale = scale = scale_of(rng)
        lr, hr = photos.batch(rng, batch, scale)
        lr = lr.contiguous(memory_format=torch.channels_last)
        with where_fast():
            sr = unit(lr)
            transferred = transfer(lr * begun.value_range, scale)
        # L2 at the end: it is what PSNR measures; scaled to the size of L1's gradients.
        squared = step >= 0.85 * steps
        loss = 25 * F.mse_loss(sr.float(), hr) if squared else F.l1_loss(sr.float(), hr)
        optimizer.zero_grad(set_to_none=True)
        (loss + _TRANSFER * transferred).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
        optimizer.step()
        _average(average, student, min(0.999, (1 + step) / (10 + step)))
        total += float(loss.detach())
        if (step + 1) % every == 0 or step + 1 == steps:
            _save(out / "state.pt", step + 1, learned, average, optimizer)
            pace = (time.monotonic() - started) / (step + 1 - first)
            with (out / "log.csv").open("a") as file:
                file.write(f"{step + 1},{total / every:.6f},{pace:.3f}\n")
            logging.info(
                "step %d of %d, loss %.5f, %.2f s each", step + 1, steps, total / every, pace
            )
            total = 0.0
    return average


def _begun(name: str, teacher: Network) -> Network:
    """A new network with a teacher's body."""
    network = create(f"{name}-x2")
    assert isinstance(network.module, AnyScale)
    warm_start(network.module, teacher)
    return network


def _whole(teacher: Network) -> int:
    if not isinstance(teacher.scale, int):
        raise UsageError(f"`{teacher.name}` is for no one whole scale, so it cannot teach")
    return teacher.scale


def _share(step: int, steps: int, warm_up: int = 300) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.001 + 0.999 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2


@torch.no_grad()
def _average(average: nn.Module, module: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for counted, newest in zip(average.buffers(), module.buffers(), strict=True):
        counted.copy_(newest)


def _save(
    path: Path, step: int, learned: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    parts: dict[str, Any] = {"learned": learned, "average": average, "optimizer": optimizer}
    write_state({"step": step, **{k: part.state_dict() for k, part in parts.items()}}, path)


def _resume(
    path: Path, learned: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    state = read_state(path, "step", "learned", "average", "optimizer")
    learned.load_state_dict(state["learned"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="edgesr.train.any_scale")
    parser.add_argument("--data", type=Path, action="append", required=True, help="HR photos")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run")
    parser.add_argument("--network", default="arbsr-plain", choices=_TEACHERS)
    parser.add_argument("--teacher", action="append", default=[], help="default: ours")
    parser.add_argument("--start", default="", help="weights to go on from")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from safetensors.torch import save_file

    try:
        average = train(
            Photos(options.data), options.out, network=options.network,
            teachers=options.teacher, start=options.start, steps=options.steps,
            rate=options.rate,
        )  # fmt: skip
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        sys.exit(error.exit_code)
    tensors = {k: v.contiguous() for k, v in average.state_dict().items()}
    save_file(tensors, options.out / f"{options.network}.safetensors")


if __name__ == "__main__":
    main()

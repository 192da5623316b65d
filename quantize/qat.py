"""Quantization-aware training: a quantized graph learns on photos to make the most of its codes.

    outcome = adapt(quantize(graph, network, images), patches, Options(), validation=..., state=...)
    outcome.quantized

Two phases. First weights and the ranges of activations learn together; then the scales are brought
under the rules every runtime asks for (`scales.py`) and the weights learn to live with them. Image
in and out stay pinned to 1/255 throughout, so that the clip and the pixel shuffle behind the last
layer cost nothing and 0 and 255 remain reachable.

The loss is the squared error, which is what PSNR measures, to the original and to what the float
network (the start's own graph) makes of the same patch. PSNR is a logarithm, image by image: the
same rounding costs a smooth image more than a textured one. So a patch weighs the less, the larger
the float network's own error on it.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from edgesr.quantize import integer
from edgesr.quantize.fake import FakeQuantized, channels_last
from edgesr.quantize.scheme import LOWEST, QuantizedGraph
from torch import Tensor, fx, nn

from edgesr.allocator import keep_freed_memory
from edgesr.data.colour import join, split
from edgesr.data.images import Image
from edgesr.errors import CheckpointError, UsageError
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.network import Network
from edgesr.train.loop import Progress
from edgesr.train.patches import PatchCache, luma
from edgesr.train.state import read_state, write_state

AVERAGING = 0.05
"""Share of the steps that the moving average of the weights looks back on."""
NOTICED = 3e-4
"""Squared error, of a range of 1, up to which patches weigh about the same: 35 dB."""
CROP = 384
"""Side of what validation looks at, from the middle of each image, in high-resolution pixels."""


Pair = tuple[Image, Image]
"""A low-resolution image and its original, uint8 HxWx3."""


@dataclass(frozen=True)
class Options:
    """How long and how fast to learn."""

    steps: int = 1000
    batch: int = 8
    patch: int = 32
    """Side of an LR patch."""
    rate: float = 0.02
    """Highest learning rate of weights, in 8-bit steps; it follows a cosine to nearly nothing."""
    distil: float = 0.5
    """Share of the loss that compares with the float network instead of the original, 0 to 1."""
    ranges: float = 0.3
    """Share of the steps in which the ranges of activations are learned too."""
    range_rate: float = 0.003
    """Their learning rate, in shares of the range."""
    every: int = 100
    """Steps between validations, which are also what a stopped run goes on from."""
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """A short linear warm-up, then a cosine."""
        warm = max(1, self.steps // 50)
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * cosine * min(1.0, (step + 1) / warm)


@dataclass(frozen=True)
class Outcome:
    """What training brought. All dB: mean over the validation images, `protocol`."""

    quantized: QuantizedGraph
    """The best found on validation; the start itself if training found none better."""
    float_psnr: float
    start_psnr: float
    best_psnr: float
    best_step: int
    """0: the start."""
    protocol: str
    seconds_per_step: float

    @property
    def improved(self) -> bool:
        """Whether the result is better than the start."""
        return self.best_step > 0


def adapt(
    start: QuantizedGraph,
    cache: PatchCache,
    options: Options,
    *,
    validation: Sequence[Pair],
    state: Path,
    forbidden: Iterable[Image] = (),
    report: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Train a quantized graph.

    Args:
        start: from `quantize`; left alone.
        cache: training patches of the network's scale. None may come from evaluation images.
        validation: low-resolution images and their originals, not trained on
            (`cache.held_out()`); they decide which step's result is kept.
        state: file to go on from after a stop, written every `options.every` steps and removed
            at the end. The result does not depend on where a run was stopped.
        forbidden: evaluation images; none may be among the training images.
        report: called once per validation.

    Raises:
        UnsupportedError: a layer has no int8 form or is kept above 8 bits.
        UsageError: no validation image, another scale, a forbidden image, or `state` is of
            another run.
        CheckpointError: training diverged.
    """
    network = start.network
    _check(start, cache, options, validation)
    for image in forbidden:
        if cache.contains(image):
            raise UsageError(
                f"an evaluation image of {image.shape[1]}x{image.shape[0]} is among the training "
                "images; leave it out, or the measured quality means nothing"
            )
    keep_freed_memory()
    teacher = channels_last(start.graph)
    run = _Run(start, options, state)
    pairs = [_crop(pair, network) for pair in validation]
    if not run.history:
        run.float_psnr = _quality(lambda image: _enlarge(teacher, network, image), pairs, network)
        run.record(0, _quality(lambda image: integer.run(start, image), pairs, network))
    began, first, loss_sum = time.monotonic(), run.step, 0.0
    for step in range(first, options.steps):
        if step == round(options.ranges * options.steps) and run.fake.ranges:
            run.freeze_ranges()
        lr, hr = _batch(cache, step, options, network)
        loss = _loss(run.fake, teacher, lr, hr, options, network)
        if not math.isfinite(loss.item()):
            raise CheckpointError(
                f"quantization-aware training diverged at step {step + 1}; use a rate below "
                f"{options.rate:g}"
            )
        run.learn(loss, options.rate_at(step))
        loss_sum += loss.item()
        if (step + 1) % options.every == 0 or step + 1 == options.steps:
            candidate = run.candidate()
            value = _quality(lambda image: integer.run(candidate, image), pairs, network)  # noqa: B023
            run.record(step + 1, value)
            run.save()
            each = (time.monotonic() - began) / (step + 1 - first)
            left = each * (options.steps - step - 1)
            report(Progress(step + 1, options.steps, loss_sum / options.every, value, left))
            loss_sum = 0.0
    state.unlink(missing_ok=True)
    each = (time.monotonic() - began) / max(1, options.steps - first)
    return run.outcome(each, len(cache.shapes))


class _Run:
    """What training changes, and what a state file holds."""

    def __init__(self, start: QuantizedGraph, options: Options, path: Path) -> None:
        self.start, self.options, self.path = start, options, path
        self.fake = FakeQuantized(start, learns_ranges=options.ranges > 0)
        self.optimizer = self._optimizer()
        self.step = 0
        self.float_psnr = math.nan
        self.history: list[tuple[int, float]] = []
        self.average = self.fake.snapshot()
        self.averaged = 0
        self.best = self.average
        self._load()

    def learn(self, loss: Tensor, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()

    def freeze_ranges(self) -> None:
        self.fake.restore(self.average)
        self.fake.freeze_ranges()
        kept = self.optimizer.state_dict()["state"]
        self.optimizer = self._optimizer()
        count = len(self.fake.weights)
        moments = {index: value for index, value in kept.items() if index < count}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.average, self.averaged = self.fake.snapshot(), 0

    def _average(self) -> None:
        """Exponential moving average: single weights hop between two codes, their mean does not."""
        self.averaged += 1
        horizon = min(self.averaged, max(1.0, AVERAGING * self.options.steps))
        newest = self.fake.snapshot()
        for kept, new in zip(self.average["weights"], newest["weights"], strict=True):
            kept.lerp_(new, 1 / horizon)
        for root, new in newest["ranges"].items():
            self.average["ranges"][root] += (new - self.average["ranges"][root]) / horizon

    def candidate(self, snapshot: dict[str, Any] | None = None) -> QuantizedGraph:
        """The result if training ended here: of a snapshot, by default of the average."""
        snapshot = snapshot or self.average
        fake = FakeQuantized(self.start, learns_ranges=bool(snapshot["ranges"]))
        fake.restore(snapshot)
        if fake.ranges:
            fake.freeze_ranges()
        return fake.quantized()

    def record(self, step: int, value: float) -> None:
        """Note a validation; remember the weights if it is the best."""
        if step and value > max(known for _, known in self.history):
            self.best = deepcopy(self.average)
        self.history.append((step, value))

    def outcome(self, seconds_per_step: float, images: int) -> Outcome:
        step, value = max(self.history, key=lambda entry: entry[1])
        quantized = self.start
        if step:
            quantized = self.candidate(self.best)
            done = f"QAT {step} steps on {images} images"
            steps = [*quantized.calibration.get("steps", []), done]
            quantized = replace(quantized, calibration={**quantized.calibration, "steps": steps})
        begin = self.history[0][1]
        return Outcome(
            quantized, self.float_psnr, begin, value, step, str(LITERATURE), seconds_per_step
        )

    def save(self) -> None:
        state = {
            "of": self._fingerprint(), "step": self.step, "float_psnr": self.float_psnr,
            "history": self.history, "best": self.best, "fake": self.fake.snapshot(),
            "average": self.average, "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        write_state(state, self.path)

    def _load(self) -> None:
        if not self.path.exists():
            return
        state = read_state(self.path, "of", "fake")
        if state["of"] != self._fingerprint():
            raise UsageError(
                f"{self.path} is the state of a run with other options or another start; delete "
                "it, or write to another file"
            )
        self.step, self.float_psnr = state["step"], state["float_psnr"]
        self.history = [(int(step), float(value)) for step, value in state["history"]]
        self.best, self.average = state["best"], state["average"]
        self.averaged = state["averaged"]
        self.fake.restore(state["fake"])
        self.optimizer = self._optimizer()
        self.optimizer.load_state_dict(state["optimizer"])

    def _optimizer(self) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [{"params": list(self.fake.weights)}]
        if self.fake.ranges:
            rate = self.options.range_rate
            groups.append({"params": list(self.fake.ranges.values()), "lr": rate})
        return torch.optim.Adam(groups, lr=self.options.rate, betas=(0.9, 0.99))

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self.options)).encode())
        for name, params in self.start.activations.items():
            digest.update(f"{name} {params}".encode())
        for name, weights in self.start.weights.items():
            digest.update(name.encode() + weights.weight.contiguous().numpy().tobytes())
        return digest.hexdigest()


# --- data and measures ----------------------------------------------------------------------


def _batch(
    cache: PatchCache, step: int, options: Options, network: Network
) -> tuple[Tensor, Tensor]:
    """Input codes and the original in [0, 1] of one step."""
    lr, hr = cache.batch(step, options.batch, options.patch, options.seed)
    if network.colour == "y":
        lr, hr = luma(lr), luma(hr)
    codes = torch.round(lr * 255) + LOWEST
    return codes.contiguous(memory_format=torch.channels_last), hr


def _loss(
    fake: FakeQuantized,
    teacher: fx.GraphModule,
    codes: Tensor,
    hr: Tensor,
    options: Options,
    network: Network,
) -> Tensor:
    with torch.no_grad():
        wanted = teacher((codes - LOWEST) * (network.value_range / 255)) / network.value_range
        weight = NOTICED / (_squared(wanted, hr) + NOTICED)
    sr = (fake(codes) - LOWEST) / 255
    error = (1 - options.distil) * _squared(sr, hr) + options.distil * _squared(sr, wanted)
    return (weight * error).mean()


def _squared(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared error of every patch."""
    return (sr - hr).square().mean((1, 2, 3))


def _crop(pair: Pair, network: Network) -> Pair:
    """The middle of an image: enough to tell better from worse, in a second."""
    lr, hr = pair
    scale, multiple = int(network.scale), network.pad_multiple  # type: ignore[arg-type]
    height, width = (min(n, CROP // scale) // multiple * multiple for n in lr.shape[:2])
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2

    def cut(image: Image, k: int) -> Image:
        return image[top * k : (top + height) * k, left * k : (left + width) * k].copy()

    return cut(lr, 1), cut(hr, scale)


def _quality(upscale: Callable[[Image], Image], pairs: Sequence[Pair], network: Network) -> float:
    """Mean Y-PSNR in dB, literature protocol."""
    scale = int(network.scale)  # type: ignore[arg-type]
    values = []
    for lr, hr in pairs:
        if network.colour == "y":
            y, chroma = split(lr)
            sr = join(upscale(y), chroma)
        else:
            sr = upscale(lr)
        values.append(psnr(sr, hr, scale))
    return fmean(values)


@torch.no_grad()
def _enlarge(graph: fx.GraphModule, network: Network, image: Image) -> Image:
    """What the float graph makes of an image, as uint8."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    sr = graph(pixels.float() * (network.value_range / 255))[0].permute(1, 2, 0)
    result: Image = (sr * (255 / network.value_range)).round().clamp(0, 255).byte().numpy()
    return result


def _check(
    start: QuantizedGraph, cache: PatchCache, options: Options, validation: Sequence[Pair]
) -> None:
    network = start.network
    if cache.scale != network.scale:
        raise UsageError(f"the patches are x{cache.scale}, `{network.name}` is x{network.scale}")
    if not validation:
        raise UsageError("no validation image: training needs some to tell better from worse")
    if options.patch % network.pad_multiple:
        raise UsageError(
            f"`{network.name}` takes sides that divide by {network.pad_multiple}; "
            f"--patch {options.patch} does not"
        )

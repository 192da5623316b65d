"""Mixed precision by budget: the fewest convolutions in float that keep the loss below `max_drop`.

    plan = search(quantized, network, 0.05, photos)
    plan.quantized          # write it as any other; plan.layers says what each island costs

A photo stands for the original: its bicubic reduction goes through both networks, and each result
is compared with the photo, on luma as papers do. So photos need no high-resolution partner.

Greedy, after the ranking of HAWQ and NNCF but with the error measured, not modelled: every
convolution alone is put in float and the error of the output on calibration patches measured; the
best few are tried again beside those chosen already, until the photos agree that the budget holds;
then each is taken back if the budget holds without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from edgesr.quantize import integer
from edgesr.quantize.calibrate import patches, to_input
from edgesr.quantize.islands import float_nodes, with_islands
from edgesr.quantize.scheme import QuantizedGraph
from edgesr.quantize.session import ReferenceSession
from torch import Tensor

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.images import Image
from edgesr.errors import UsageError
from edgesr.graph import layer_of, tensor_nodes
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.network import Network
from edgesr.runtime import NetworkSession, Session, upscale

Costs = Callable[[QuantizedGraph], float]
"""Milliseconds of one inference; `edgesr.export.timing.Stopwatch` measures an exported file."""
Report = Callable[[str], None]

CANDIDATES = 4
"""How many of the best convolutions, measured alone, are tried beside those chosen."""
MOST_PATCHES = 4
_SIDE = 384
"""Pixels of the original: photos are cut to this much of their middle, enough for a mean."""


@dataclass(frozen=True)
class KeptLayer:
    """A convolution in float, and what that buys and costs beside the other ones."""

    node: str
    layer: str
    gain: float
    """dB lost if it alone went back to int8."""
    milliseconds: float | None
    """Time saved if it alone went back to int8; None if no time was measured."""


@dataclass(frozen=True)
class MixedPlan:
    """What was found."""

    quantized: QuantizedGraph
    """The graph with its islands; the given one where int8 alone keeps the budget."""
    layers: tuple[KeptLayer, ...]
    budget: float
    """dB."""
    drop_before: float
    """dB that int8 alone loses against float on the photos, on average."""
    drop: float
    """dB that the plan loses."""
    convolutions: int
    milliseconds_before: float | None = None
    milliseconds: float | None = None

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return self.drop <= self.budget

    def summary(self) -> list[str]:
        """Sentences for the terminal."""
        lines = [
            f"{len(self.layers)} of {self.convolutions} convolutions in float: "
            f"drop {self.drop_before:.3f} -> {self.drop:.3f} dB (allowed {self.budget:g})"
        ]
        if self.milliseconds is not None and self.milliseconds_before is not None:
            lines[0] += f", {self.milliseconds_before:.2f} -> {self.milliseconds:.2f} ms"
        for kept in self.layers:
            time = "" if kept.milliseconds is None else f", costs {kept.milliseconds:+.2f} ms"
            lines.append(f"{kept.layer} ({kept.node}) keeps {kept.gain:.3f} dB{time}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest and for JSON."""
        return {
            "max_drop": self.budget, "drop_before": self.drop_before, "drop": self.drop,
            "milliseconds_before": self.milliseconds_before, "milliseconds": self.milliseconds,
            "layers": [vars(kept) for kept in self.layers],
        }  # fmt: skip


def search(
    quantized: QuantizedGraph,
    network: Network,
    budget_db: float,
    images: Iterable[Image],
    costs: Costs | None = None,
    *,
    report: Report | None = None,
) -> MixedPlan:
    """Find the fewest convolutions whose floats keep the loss within the budget.

    Args:
        quantized: int8 throughout.
        network: the float network that is compared with.
        budget_db: largest mean loss of PSNR on Y.
        images: uint8 HxWx3 photos, taken as originals; a handful is enough.
        costs: measures the time of a graph; None leaves times out.
        report: called with a sentence after every step.

    Raises:
        UsageError: a negative budget, no photo, or none large enough.
    """
    if not budget_db > 0:
        raise UsageError(
            f"a loss of at most {budget_db} dB leaves nothing to choose; 0.05 is usual"
        )
    tell = report or (lambda _: None)
    judge = _Judge(network, images)
    start = judge.drop(quantized)
    tell(f"int8 loses {start:.3f} dB")
    chosen: list[str] = []
    drop = start
    if drop > budget_db:
        ranking = _Ranking(quantized, judge.patches)
        while drop > budget_db and len(chosen) < len(quantized.weights):
            chosen.append(ranking.next(chosen))
            drop = judge.drop(with_islands(quantized, chosen))
            tell(f"{len(chosen)} in float ({chosen[-1]}): {drop:.3f} dB")
        chosen, drop = _pruned(quantized, chosen, drop, budget_db, judge, tell)
    return _plan(quantized, chosen, (start, drop, budget_db), judge, costs)


class _Judge:
    """Photos as low-resolution input, original, and what the float network makes of it."""

    def __init__(self, network: Network, images: Iterable[Image]) -> None:
        scale = network.scale
        assert isinstance(scale, int)
        self._scale = scale
        self._known: dict[frozenset[str], float] = {}
        self._pairs: list[tuple[Image, Image, float]] = []
        self.patches: list[tuple[Tensor, Tensor]] = []
        session = NetworkSession(network, torch.get_num_threads())
        for image in images:
            hr = _middle(image, scale, network.pad_multiple)
            if hr is None:
                continue
            lr = imresize(hr, 1 / scale)
            self._pairs.append((lr, hr, self._psnr(session, lr, hr)))
            if len(self.patches) < MOST_PATCHES:
                patch = next(patches(lr, size=64, multiple=network.pad_multiple))
                x = to_input(patch, network)
                with torch.inference_mode():
                    want = network.module(x).clamp(0, network.value_range)
                self.patches.append((x * (255 / network.value_range), want))
        if not self._pairs:
            raise UsageError(
                f"mixed precision needs photos to judge by, of at least {16 * scale} pixels a side"
            )

    def drop(self, quantized: QuantizedGraph) -> float:
        """dB lost against float, mean over the photos; remembered by what runs in float."""
        islands = float_nodes(quantized)
        if islands not in self._known:
            session = ReferenceSession(quantized, torch.get_num_threads())
            losses = [before - self._psnr(session, lr, hr) for lr, hr, before in self._pairs]
            self._known[islands] = float(np.mean(losses))
        return self._known[islands]

    def _psnr(self, session: Session, lr: Image, hr: Image) -> float:
        return psnr(upscale(session, lr), hr, self._scale, LITERATURE)


def _middle(image: Image, scale: int, multiple: int) -> Image | None:
    """The middle of a photo, in whole low-resolution pixels."""
    side = max(_SIDE, 16 * scale)
    top, left = (max(0, (n - side) // 2) for n in image.shape[:2])
    cut = crop_to_multiple(image[top : top + side, left : left + side], scale * multiple)
    return np.ascontiguousarray(cut) if min(cut.shape[:2]) >= 16 * scale else None


class _Ranking:
    """Which convolution next? Those that help most alone, measured again beside the chosen."""

    def __init__(self, quantized: QuantizedGraph, data: list[tuple[Tensor, Tensor]]) -> None:
        self._quantized, self._data = quantized, data
        self._errors = {name: self._error([name]) for name in quantized.weights}

    def next(self, chosen: Collection[str]) -> str:
        """The best convolution beside the chosen ones."""
        left = [name for name in self._errors if name not in chosen]
        best = sorted(left, key=self._errors.__getitem__)[:CANDIDATES]
        if not chosen:
            return best[0]
        again = {name: self._error([*chosen, name]) for name in best}
        return min(again, key=again.__getitem__)

    def _error(self, layers: Collection[str]) -> float:
        """Mean squared error of the output with these in float."""
        graph = with_islands(self._quantized, layers)
        params = graph.activations[tensor_nodes(graph.graph)[-1].name]
        total = 0.0
        for pixels, want in self._data:
            codes = integer.execute(graph, pixels.round() - 128)
            real = (codes - params.zero_point) * params.scale
            total += float((real - want).double().square().mean())
        return total / len(self._data)


def _pruned(
    quantized: QuantizedGraph,
    chosen: list[str],
    drop: float,
    budget: float,
    judge: _Judge,
    tell: Report,
) -> tuple[list[str], float]:
    """Take back what the budget does not need, the least useful (chosen last) first."""
    for name in chosen[-2::-1]:  # without the last one it did not hold
        fewer = [other for other in chosen if other != name]
        without = judge.drop(with_islands(quantized, fewer))
        if without <= budget:
            chosen, drop = fewer, without
            tell(f"{name} back to int8: {drop:.3f} dB")
    return chosen, drop


def _plan(
    quantized: QuantizedGraph,
    chosen: list[str],
    figures: tuple[float, float, float],
    judge: _Judge,
    costs: Costs | None,
) -> MixedPlan:
    start, drop, budget = figures
    mixed = with_islands(quantized, chosen)
    time = costs(mixed) if costs else None
    layers = []
    for node in tensor_nodes(quantized.graph):
        if node.name not in chosen:
            continue
        fewer = with_islands(quantized, [name for name in chosen if name != node.name])
        saved = time - costs(fewer) if costs and time is not None else None
        layers.append(KeptLayer(node.name, layer_of(node), judge.drop(fewer) - drop, saved))
    plan = MixedPlan(
        mixed, tuple(layers), budget, start, drop, len(quantized.weights),
        costs(quantized) if costs else None, time,
    )  # fmt: skip
    if not chosen:
        return plan
    steps = [*quantized.calibration.get("steps", []), plan.summary()[0]]
    record = {**quantized.calibration, "steps": steps, "mixed": plan.to_dict()}
    assert float_nodes(mixed)
    return replace(plan, quantized=replace(mixed, calibration=record))

"""The teacher: asked in every step, never trained, no part of the student's state."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesr.errors import UsageError
from edgesr.network import Network
from edgesr.train.distil.features import Maps, choose_points, with_maps
from edgesr.train.unit import Unit


@dataclass(frozen=True)
class Knowledge:
    """What a teacher makes of a batch."""

    image: Tensor
    """The enlarged batch in [0, 1]."""
    maps: Maps
    """Its features, each with a root mean square of 1: features of networks that work on
    0..255 are hundreds of times those of others."""


class Teacher:
    """A trained network, its features at `points`.

    Args:
        network: as `edgesr.models.intake.load` gives it. An RGB teacher shows a luma student how
            it enlarges grey pictures.
        points: how many maps of its trunk are given.
        remember: answers kept, in bfloat16; for data sets of few fixed batches.
    """

    def __init__(self, network: Network, points: int = 3, remember: int = 0) -> None:
        self.network = network
        self.points = choose_points(network, points)
        self._unit = Unit(network.module.eval().requires_grad_(False), network.value_range)
        self._unit.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._remember = remember
        self._known: OrderedDict[bytes, tuple[Tensor, Maps]] = OrderedDict()

    def check(self, student: Network, *, same_scale: bool = True) -> None:
        """Whether this teacher can teach `student`.

        Raises:
            UsageError: another scale; a luma teacher for an RGB student.
        """
        own = self.network
        if same_scale and own.scale != student.scale:
            raise UsageError(
                f"the teacher `{own.name}` enlarges by {own.scale}, the student `{student.name}` "
                f"by {student.scale}; `tas` teaches across scales"
            )
        if own.colour == "y" and student.colour == "rgb":
            raise UsageError(f"the teacher `{own.name}` sees only luma, `{student.name}` RGB")

    @torch.no_grad()
    def __call__(self, lr: Tensor) -> Knowledge:
        """Image and features for a batch in [0, 1]."""
        if not self._remember:
            return self._answer(lr)
        key = hashlib.blake2b(lr.contiguous().cpu().numpy().tobytes(), digest_size=16).digest()
        if key not in self._known:
            fresh = self._answer(lr)
            self._known[key] = fresh.image.bfloat16(), [m.bfloat16() for m in fresh.maps]
            if len(self._known) > self._remember:
                self._known.popitem(last=False)
        image, maps = self._known[key]
        # Rounded the first time, too: it must not matter whether an answer is remembered.
        return Knowledge(image.float(), [m.float() for m in maps])

    def _answer(self, lr: Tensor) -> Knowledge:
        self._unit.to(lr.device)
        grey = lr.shape[1] == 1 and self.network.colour == "rgb"
        x = lr.expand(-1, 3, -1, -1) if grey else lr
        image, maps = with_maps(self._unit.module, self.points.names, lambda: self._unit(x))
        scaled = [m / m.square().mean().sqrt().clamp(min=1e-12) for m in maps]
        return Knowledge(image.mean(1, keepdim=True) if grey else image, scaled)

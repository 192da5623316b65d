"""Who takes part in a benchmark: a model, in a runtime, with a number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgesr.errors import UnsupportedError, UsageError
from edgesr.manifest import Manifest
from edgesr.models import intake, registry
from edgesr.network import Network
from edgesr.runtime import RUNTIMES, SessionInfo, open_session
from edgesr.runtime.pixels import Array, to_tensor
from edgesr.runtime.session import QUANTIZED, is_artifact, runtimes_for
from edgesr.runtime.torch_session import NetworkSession

TORCH = "torch"
"""Runs networks; the other runtimes, of `edgesr.runtime.RUNTIMES`, run artifacts."""

USUAL = ("litert", "ort", "openvino", "ncnn", TORCH)
"""Runtimes that take part without being asked. The others are second opinions on correctness."""

DEFAULT_SHAPE = (360, 640)
"""Input of a model that takes any size: x3 of it is 1080p."""


class Runner(Protocol):
    """The part of `edgesr.runtime.Session` that a benchmark needs."""

    @property
    def manifest(self) -> Manifest: ...

    def infer(self, tensor: Array, /) -> Array: ...

    def info(self) -> SessionInfo: ...


@dataclass(frozen=True)
class Entrant:
    """One row to be.

    Attributes:
        model: path of an artifact, or a network for torch: registry name, checkpoint, factory.
        runtime: a key of `edgesr.runtime.RUNTIMES`, or `torch`.
        threads: of the runtime, at least 1.
        height, width: input size wanted; an artifact of fixed size has its own.
    """

    model: str
    runtime: str
    threads: int
    height: int | None = None
    width: int | None = None

    @property
    def is_artifact(self) -> bool:
        """Whether the model is an exported file (else a network that torch runs)."""
        return is_artifact(Path(self.model))

    @property
    def name(self) -> str:
        """How tables call the model."""
        return Path(self.model).name

    def size_for(self, manifest: Manifest) -> tuple[int, int]:
        """Input height and width this entrant runs at.

        Raises:
            UsageError: the artifact has a fixed size, and another was asked for.
        """
        wanted = None if self.height is None or self.width is None else (self.height, self.width)
        if manifest.height is None or manifest.width is None:
            return wanted or DEFAULT_SHAPE
        fixed = (manifest.height, manifest.width)
        if wanted not in (None, fixed):
            raise UsageError(
                f"{self.model} takes {fixed[0]}x{fixed[1]} only, --shape says "
                f"{self.height}x{self.width}; export it again with --shape, or leave --shape out"
            )
        return fixed


def line_up(
    models: Sequence[str],
    *,
    runtimes: Sequence[str] = (),
    threads: Sequence[int] = (1,),
    shape: tuple[int, int] | None = None,
) -> list[Entrant]:
    """Every model in every runtime that opens it, with every number of threads.

    Args:
        models: artifacts and networks.
        runtimes: only these; none given means the usual ones.
        threads: numbers of threads.
        shape: input height and width for models that take any.

    Raises:
        UsageError: no model, an unknown runtime, or threads below 1.
        UnsupportedError: none of the runtimes opens a model.
    """
    if not models:
        raise UsageError("nothing to time: give an artifact or a network's name")
    for runtime in runtimes:
        if runtime not in (*RUNTIMES, TORCH):
            known = ", ".join((*RUNTIMES, TORCH))
            raise UsageError(f"no runtime is called `{runtime}`; there are {known}")
    if not threads or min(threads) < 1:
        raise UsageError("--threads takes numbers from 1 up, such as 1,2")
    entrants = []
    for model in dict.fromkeys(models):
        if model.endswith(QUANTIZED):
            raise UsageError(
                f"{model} has no time of its own, only a reference that proves its pixels; "
                "`edgesr export` makes a file of it that can be timed"
            )
        able = runtimes_for(Path(model)) or [TORCH]
        chosen = [runtime for runtime in able if runtime in (runtimes or USUAL)]
        if not chosen:
            raise UnsupportedError(
                f"{model} runs with {' or '.join(able)}, not with {' or '.join(runtimes)}"
            )
        entrants += [
            Entrant(model, runtime, count, *(shape or (None, None)))
            for runtime in chosen
            for count in dict.fromkeys(threads)
        ]
    return entrants


def open_runner(entrant: Entrant) -> Runner:
    """Open the entrant's model in its runtime, in a session of its own."""
    if entrant.is_artifact:
        return open_session(entrant.model, runtime=entrant.runtime, threads=entrant.threads)
    return NetworkSession(load_network(entrant.model), entrant.threads)


def load_network(spec: str) -> Network:
    """The network to time. Latency does not depend on weights: random ones will do."""
    try:
        registry.parse_name(spec)
    except UsageError:
        return intake.load(spec)  # a checkpoint, a factory, or the better error
    if spec in intake.shipped_names():
        return intake.load(spec)
    network = registry.create(spec)
    network.module.eval().requires_grad_(False)
    return network


def tensor_for(manifest: Manifest, height: int, width: int) -> Array:
    """A seeded random image as the artifact takes it: its type, layout and value range.

    Random pixels cost what a photo costs; an all-black image would let zeros flatter a kernel.
    """
    channels = 1 if manifest.colour == "y" else 3
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return to_tensor(pixels, manifest)

"""Who takes part in a benchmark: a model, in a runtime, with a number of threads."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgesr.errors import UnsupportedError, UsageError
from edgesr.manifest import Manifest
from edgesr.network import Network

PACKAGES = {
    "litert": ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow"),
    "ort": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch",),
}
"""Runtime to the modules that can provide it, best first."""

_RUNTIMES = {".tflite": ("litert",), ".onnx": ("ort", "openvino"), ".xml": ("openvino",)}
"""File suffix to the runtimes that open it."""

DEFAULT_SHAPE = (360, 640)
"""Input of a model that takes any size: x3 of it is 1080p."""


class Runner(Protocol):
    """The part of `edgesr.runtime.Session` that is timed."""

    manifest: Manifest

    def infer(self, tensor: Any, /) -> Any: ...

    def info(self) -> Any: ...


@dataclass(frozen=True)
class Entrant:
    """One row to be.

    Attributes:
        model: path of an artifact, or a network for torch: registry name, checkpoint, factory.
        runtime: `litert`, `ort`, `openvino`, `torch`.
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
        return Path(self.model).suffix in _RUNTIMES

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
        runtimes: only these; none given means all that are installed.
        threads: numbers of threads.
        shape: input height and width for models that take any.

    Raises:
        UsageError: no model, an unknown runtime, threads below 1, or a runtime nobody needs.
        UnsupportedError: no runtime is left for a model.
    """
    if not models:
        raise UsageError("nothing to time: give an artifact or a network's name")
    for runtime in runtimes:
        if runtime not in PACKAGES:
            raise UsageError(f"no runtime is called `{runtime}`; there are {', '.join(PACKAGES)}")
    if not threads or min(threads) < 1:
        raise UsageError("--threads takes numbers from 1 up, such as 1,2")
    entrants = []
    for model in dict.fromkeys(models):
        able = _RUNTIMES.get(Path(model).suffix, ("torch",))
        chosen = [r for r in able if r in runtimes] if runtimes else _installed(able)
        if not chosen:
            asked = f"not with {', '.join(runtimes)}" if runtimes else "none is installed"
            raise UnsupportedError(f"{model} runs with {' or '.join(able)}, {asked}")
        entrants += [
            Entrant(model, runtime, count, *(shape or (None, None)))
            for runtime in chosen
            for count in dict.fromkeys(threads)
        ]
    return entrants


def _installed(runtimes: Sequence[str]) -> list[str]:
    return [
        runtime
        for runtime in runtimes
        if any(importlib.util.find_spec(m.split(".")[0]) for m in PACKAGES[runtime])
    ]


def open_runner(entrant: Entrant) -> Runner:
    """Open the entrant's model in its runtime."""
    from edgesr.runtime import NetworkSession, open_session

    if entrant.is_artifact:
        return open_session(Path(entrant.model), runtime=entrant.runtime, threads=entrant.threads)
    return NetworkSession(load_network(entrant.model), entrant.threads)


def load_network(spec: str) -> Network:
    """The network to time. Latency does not depend on weights: random ones will do."""
    from edgesr.models import intake, registry

    try:
        registry.parse_name(spec)
    except UsageError:
        return intake.load(spec)  # a checkpoint, a factory, or the better error
    if spec in intake.shipped_names():
        return intake.load(spec)
    network = registry.create(spec)
    network.module.eval().requires_grad_(False)
    return network


def tensor_for(manifest: Manifest, height: int, width: int) -> Any:
    """A seeded random image as the artifact takes it: its type, layout and value range.

    Random pixels cost what a photo costs, except that an all-black one would let zeros and
    denormals flatter or punish a kernel.
    """
    channels = 1 if manifest.colour == "y" else 3
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, channels))
    if manifest.layout == "NCHW":
        pixels = pixels.transpose(0, 3, 1, 2)
    if manifest.dtype == "uint8":
        return np.ascontiguousarray(pixels, np.uint8)
    if manifest.dtype == "int8":
        return np.ascontiguousarray(pixels - 128, np.int8)
    return np.ascontiguousarray(pixels * (manifest.value_range / 255), manifest.dtype)


def count_macs(network: Network, height: int, width: int) -> int:
    """Multiply-accumulates of one call, counted by running the module on tensors without data."""
    import copy

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    module = copy.deepcopy(network.module).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, network.channels, height, width, device="meta"))
    return int(counter.get_total_flops()) // 2


def as_dict(entrant: Entrant) -> dict[str, Any]:
    """Plain values, for a child process."""
    return dataclasses.asdict(entrant)

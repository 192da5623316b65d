"""What a recipe may say: every key, its type, its default and its smallest value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def least(value: float, default: Any) -> Any:
    """A field that is at least `value`."""
    return field(default=default, metadata={"least": value})


@dataclass(frozen=True)
class Stage:
    """`[stage.NAME]`: one run of the training loop, with an optimizer of its own."""

    network: str = ""
    """Registry name with scale; the recipe's by default. RLFN's x4 starts as `rlfn-x2`."""
    start: str = "previous"
    """`previous` stage, `random`, or weights: a shipped network's name or a checkpoint. Tensors
    of another shape (the last convolution of another scale) stay random."""
    tail: float = least(0, 1.0)
    """Factor on the random weights of the last layer: 0.05 starts anchored networks at their
    anchor."""
    learn: str = "*"
    """Glob of the names of the parameters that learn; the others stay what they were at the start.
    `*.square.*` spares Plain's other branches."""
    steps: int = least(1, 60_000)
    batch: int = least(1, 16)
    patch: int = least(8, 48)
    """Side of an LR patch."""
    rate: float = least(0, 1e-3)
    final_rate: float = least(0, 1e-6)
    warm_up: int = least(0, 500)
    shape: Literal["cosine", "step"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
    factor: float = least(0, 0.5)
    optimizer: Literal["adam", "soap"] = "adam"
    """`soap` learns more per step, at about three times Adam's rate; needs `edgesr[train]`."""
    clip: float = least(0, 1.0)
    averaging: float = least(0, 0.999)
    loss: dict[str, float] = field(default_factory=lambda: {"l1": 1.0})
    """Losses to weights: l1, l2, charbonnier, psnr, ssim, fft, dct, contrastive."""
    squared_from: float = least(0, 0.85)
    """Share of the steps after which the loss is L2; 1: never."""
    soft_labels: str = ""
    """Network with weights, a shipped name or a checkpoint: originals are averaged with what it
    makes of the small photos."""
    distil: str = ""
    """A strategy: output, fitnets, fakd, lsfd, facd, mkd, tas, attention."""
    distil_weight: float | None = least(0, None)
    """None is the strategy's own."""
    teacher: str = ""
    """Network with weights: a shipped name or a checkpoint."""
    teacher_architecture: str = ""
    """Of a checkpoint whose keys do not tell."""
    teacher_points: int = least(1, 3)
    """Feature maps that are compared."""
    assistant: str = ""
    """Registry name; `tas` only."""


@dataclass(frozen=True)
class Qat:
    """`[qat]`: quantization-aware training of the last stage's result."""

    steps: int = least(1, 1000)
    batch: int = least(1, 8)
    patch: int = least(8, 32)
    rate: float = least(0, 0.02)
    distil: float = least(0, 0.5)
    ranges: float = least(0, 0.3)
    range_rate: float = least(0, 0.003)
    every: int = least(1, 100)


@dataclass(frozen=True)
class Export:
    """`[export]`: the file for the phone."""

    target: str = "tflite"
    precision: str = ""
    """int8 after `[qat]`, else the target's first."""
    shape: str = "360x640"
    """Low-resolution input, HEIGHTxWIDTH, or dynamic."""


@dataclass(frozen=True)
class Recipe:
    """The whole file."""

    network: str = ""
    """Registry name with scale: what comes out."""
    data: tuple[str, ...] = ()
    """Folders of photos, or `samples`: the shipped calibration photos."""
    megapixels: float = least(0, 0.0)
    """Photos of more are reduced to as many (MATLAB bicubic), and sharper so; 0 leaves them."""
    validation: str = ""
    """Image set or folder to measure on; without it, `kept` photos of the data."""
    kept: int = least(0, 8)
    """Photos of the data that are not trained on, to validate with; QAT needs at least 1."""
    seed: int = 0
    every: int = least(1, 1000)
    """Steps between reports; a stopped run goes on from the last."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False
    workers: int = least(0, 1)
    tensorboard: bool = False
    stage: dict[str, Stage] = field(default_factory=dict)
    """In order; at least one."""
    qat: Qat | None = None
    export: Export | None = None

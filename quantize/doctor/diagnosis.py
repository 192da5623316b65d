"""What an examination found: plain facts, one dataclass per thing looked at.

Figures are filled by the measuring modules; `findings.py` turns them into sentences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from enum import IntEnum
from typing import Any

from edgesr.data.images import Image


class Severity(IntEnum):
    """How much it matters; the larger, the worse."""

    OK = 0
    NOTICE = 1
    PROBLEM = 2


@dataclass(frozen=True)
class Finding:
    """One sentence of cause, with its figure and what to do."""

    severity: Severity
    rule: str
    """What was looked at: `channel ranges`, `saturation`, `tint` ..."""
    layer: str
    """As in the source network; empty when it concerns the whole."""
    figure: str
    """The number and its unit."""
    cause: str
    fix: str = ""
    command: str = ""
    weight: float = 0.0
    """Among findings of one severity the heavier comes first: share of the output's error."""


@dataclass(frozen=True)
class Histogram:
    """How often a tensor takes which value."""

    low: float
    high: float
    """Real values at the two ends."""
    counts: tuple[int, ...]
    range_low: float
    range_high: float
    """The range its codes cover."""


@dataclass(frozen=True)
class LayerFigures:
    """One tensor that int8 stores, named after the layer that computes it."""

    name: str
    node: str
    """Name in the graph: what `QuantizedGraph.activations` calls it."""
    kind: str
    """`conv`, `add`, `mul` ..."""
    sqnr_alone: float
    """dB, tensor level: float input, this layer's weights and output quantized."""
    sqnr_channels: float
    """dB, the same per channel, the median channel: a loud channel cannot hide the others."""
    sqnr_accumulated: float
    """dB, the integer graph up to here against the float graph."""
    impact: float | None
    """dB: PSNR of the output image when only this layer is quantized; None when not probed."""
    impact_share: float
    """Share of all layers' output error that is this layer's, 0..1."""
    saturation: float
    """Share of values beyond the range by more than half a step, where that can be seen."""
    codes_used: float
    """Share of the codes between the smallest and the largest that occurred, over all tensors
    that share this scale."""
    range_ratio: float
    """Range of the widest channel to that of the median channel."""
    range_ratio_low: float
    """Range of the median channel to that of the narrowest live channel."""
    widest: tuple[int, ...]
    """Channels wider than the median by `thresholds.IMBALANCE`."""
    channels: int
    dead: int
    """Channels that are constant in float."""
    drowned: int
    """Live channels that get fewer than `layers.FEW_CODES` codes."""
    gain: float
    """Range of the output to range of the input."""
    skip_ratio: float | None
    """Additions: the larger operand scale to the smaller."""
    skip_operands: tuple[str, ...]
    weight_ratio: float | None
    """Largest to median weight over output channels; int8 gives each a scale of its own."""
    weight_input_ratio: float | None
    """Largest to median weight over input channels; those share one scale."""
    scale: float | None
    """None where mixed precision left the tensor in float."""
    zero_point: int | None
    bits: int | None
    readers: tuple[str, ...]
    """Layers that read this tensor."""
    fused: bool
    """A clip follows in the same operator; figures are taken after it."""
    histogram: Histogram


@dataclass(frozen=True)
class FlatAreas:
    """Banding, on areas where float is smooth. See `banding.py` for the definitions."""

    share: float
    """Of the picture, 0..1."""
    false_edges: float
    """Share of neighbouring pixels between which int8 jumps as rounding cannot, 0..1."""
    levels_kept: float
    """Distinct levels of int8 to those of rounded float; below 1 there are bands."""
    roughness: float
    """Standard deviation of int8 - float within flat windows, 8-bit steps; rounding alone: 0.29."""


@dataclass(frozen=True)
class OutputFigures:
    """The enlarged images, int8 against float, in 8-bit steps."""

    brightness: float
    """Mean of int8 - float."""
    tint: tuple[float, ...]
    """The same per channel (R, G, B, or Y)."""
    shadows: float | None
    highlights: float | None
    """The same where float is below 32, above 223; None where there is no such pixel."""
    largest: float
    """Largest difference of one pixel."""
    lowest_pixel: int
    highest_pixel: int
    """What the output's codes can say."""
    black_kept: float | None
    white_kept: float | None
    """Share of float's 0 and 255 that int8 leaves at 0 and 255; None without such pixels."""
    flat: FlatAreas | None
    """None when no area is flat."""


@dataclass(frozen=True)
class ImageFigures:
    """One image, on the part of it that was examined. dB; Y of BT.601, shave = scale."""

    name: str
    height: int
    width: int
    """Of the low-resolution input."""
    tiles: int
    tiles_examined: int
    against_float: float | None
    """PSNR int8 vs fp32; None when the network was not at hand."""
    float_truth: float | None
    int8_truth: float | None
    bicubic_truth: float | None
    """PSNR vs the ground truth; None without one."""
    int8_back: float | None = None
    reference_back: float | None = None
    """LR consistency: PSNR of the picture, reduced again, vs the input; of int8, and of what it is
    compared with. None where every piece examined was too small."""

    @property
    def drop(self) -> float | None:
        """dB that int8 loses."""
        if self.float_truth is None or self.int8_truth is None:
            return None
        return self.float_truth - self.int8_truth


@dataclass(frozen=True)
class Crop:
    """The worst place of an image; uint8 HxWxC."""

    image: str
    top: int
    left: int
    """In the enlarged image."""
    against_float: float
    """dB, on this crop."""
    float_pixels: Image
    int8_pixels: Image
    truth: Image | None


@dataclass(frozen=True)
class RuntimeFigures:
    """The file that the target would run, written for one tile and run here."""

    runtime: str
    operators: dict[str, int]
    identical: float | None
    """Share of pixels that equal the integer reference; None when it was not run."""
    max_difference: float | None
    """Codes."""
    expected: float
    """What `integer.tolerance` allows this target."""
    one_partition: bool | None
    """LiteRT: XNNPACK took the whole graph."""
    inexact: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Operator to the layers where runtimes round it differently."""


MODEL = "MODEL"
"""In commands: the float network that a file was made from."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything the doctor says."""

    subject: str
    network: str
    target: str
    data: str
    findings: tuple[Finding, ...]
    """Worst first."""
    layers: tuple[LayerFigures, ...] = ()
    """In graph order."""
    output: OutputFigures | None = None
    images: tuple[ImageFigures, ...] = ()
    crops: tuple[Crop, ...] = ()
    """Worst first, at most one per image."""
    runtime: RuntimeFigures | None = None
    reference: str = "fp32"
    """What the pictures are compared with: `fp32`, or `bicubic` when only a file was given."""
    calibration: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What was not examined, and how it can be."""
    seconds: float = 0.0
    ptq_of: str = MODEL
    """What commands of PTQ name: it starts from floats, and a file in 8 bits cannot tell where they
    are."""
    qat_of: str = MODEL
    """What commands of QAT name: a network, or its `.int8.safetensors`."""

    @property
    def severity(self) -> Severity:
        """Of the worst finding."""
        return max((finding.severity for finding in self.findings), default=Severity.OK)

    def worst_layers(self, count: int = 8) -> list[LayerFigures]:
        """Those that cost the output most."""
        return sorted(self.layers, key=_harm, reverse=True)[:count]

    def mean(self, figure: str) -> float | None:
        """Mean of an `ImageFigures` field over the images; None without."""
        values = [getattr(image, figure) for image in self.images]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; pictures are left out, infinities become None."""
        facts: dict[str, Any] = _plain(self)
        return {"severity": self.severity.name.lower(), **facts}


def _harm(layer: LayerFigures) -> tuple[float, float]:
    impact = math.inf if layer.impact is None else layer.impact
    return -impact, -layer.sqnr_alone


def _plain(value: Any) -> Any:
    if isinstance(value, Severity):
        return value.name.lower()
    if isinstance(value, Crop):
        return {"image": value.image, "top": value.top, "left": value.left,
                "against_float": _plain(value.against_float)}  # fmt: skip
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

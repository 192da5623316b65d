"""Post-training quantization: photos in, integers out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace

from edgesr.quantize.assign import assign
from edgesr.quantize.calibrate import Report, gather, quiet
from edgesr.quantize.clipping import SPLIT, WHOLE
from edgesr.quantize.observers import OUTPUT
from edgesr.quantize.outliers import with_outliers_repeated
from edgesr.quantize.ranges import choose_ranges
from edgesr.quantize.reconstruct import reconstruct
from edgesr.quantize.scheme import QuantizedGraph
from edgesr.quantize.split import split
from edgesr.quantize.statistics import Statistics, observe
from torch import fx

from edgesr.data.images import Image
from edgesr.network import Network

RECONSTRUCTION_PATCHES = 8


@dataclass(frozen=True)
class Recipe:
    """What is done besides choosing ranges. Each step can be left out, to see what it is worth."""

    observer: str = OUTPUT
    """A name in `observers.OBSERVERS`, or `OUTPUT`."""
    equalize: bool = True
    rounding: bool = True
    """Choose weight codes by the layer's output (`reconstruct.py`), not the nearest."""
    bias_correction: bool = True
    split: bool = False
    """Split sums, PReLUs, gates and clips (`split.py`), and channels whose weights stand out
    (`outliers.py`): closer to fp32, and slower."""


def quantize(
    graph: fx.GraphModule,
    network: Network,
    images: Iterable[Image],
    *,
    forbidden: Collection[str] = frozenset(),
    recipe: Recipe = Recipe(),
    report: Report = quiet,
) -> QuantizedGraph:
    """Quantize a lowered graph to 8 bits.

    Args:
        graph: lowered for int8 (`Target.int8_forms`); left alone.
        network: what input and output mean.
        images: uint8 HxWx3 low-resolution photos; three patches of each are run.
        forbidden: pixel hashes of images that must not be calibrated on.

    Raises:
        UsageError: no calibration image, or a forbidden one.
        CheckpointError: a layer computes NaN or infinity.
        UnsupportedError: a layer has no int8 form, or there is nothing to split.
    """
    photos = gather(network, images, forbidden=forbidden, report=report)
    if recipe.split:
        graph = split(graph)
    seen = observe(
        graph, network, photos, equalized=recipe.equalize, costs=SPLIT if recipe.split else WHOLE,
        report=report,
    )  # fmt: skip
    return quantize_observed(seen, network, recipe=recipe, report=report)


def quantize_observed(
    seen: Statistics,
    network: Network,
    *,
    recipe: Recipe = Recipe(),
    report: Report = quiet,
) -> QuantizedGraph:
    """Choose scales and integers for what a calibration run saw, of a split graph or not."""
    ranges = choose_ranges(seen, recipe.observer)
    quantized = assign(seen.graph, network, ranges)
    if recipe.split:
        quantized = with_outliers_repeated(quantized)
    if recipe.rounding or recipe.bias_correction:
        batch = seen.photos.batch(network, RECONSTRUCTION_PATCHES)
        quantized = reconstruct(quantized, batch, recipe.rounding, recipe.bias_correction, report)
    return replace(quantized, calibration=_record(seen, recipe))


def _record(seen: Statistics, recipe: Recipe) -> dict[str, object]:
    """What the manifest says about it."""
    steps = ["sums, PReLUs, gates and clips split"] if recipe.split else []
    if seen.equalized:
        steps.append(f"equalized {seen.classes} channel classes")
    steps.append(f"ranges by {recipe.observer}")
    if recipe.rounding:
        steps.append("weights rounded by the layer's output")
    if recipe.bias_correction:
        steps.append("biases corrected")
    return {
        "observer": recipe.observer,
        "recipe": asdict(recipe),
        "patches": seen.patches,
        "images": list(seen.photos.hashes),
        "steps": steps,
    }

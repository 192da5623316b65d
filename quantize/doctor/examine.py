"""The examination: a network or its integers, looked at on photos, tile by tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from edgesr.export.pipeline import prepare
from edgesr.quantize import integer, quantize
from edgesr.quantize.calibrate import to_input
from edgesr.quantize.doctor import findings
from edgesr.quantize.doctor.diagnosis import (
    MODEL,
    Crop,
    Diagnosis,
    ImageFigures,
    LayerFigures,
    OutputFigures,
    RuntimeFigures,
)  # fmt: skip
from edgesr.quantize.doctor.impact import SIDE, impacts
from edgesr.quantize.doctor.layers import CodeRanges, Observer, Tally, figures
from edgesr.quantize.doctor.output import ImageTally, OutputTally, worst_crops
from edgesr.quantize.doctor.places import Place, places
from edgesr.quantize.doctor.runtime import obstacles, run_file
from edgesr.quantize.doctor.thresholds import IMBALANCE
from edgesr.quantize.doctor.windows import (
    Budget,
    Clock,
    Sample,
    Window,
    take,
    tiling_of,
    windows,
)  # fmt: skip
from edgesr.quantize.forms import spell
from edgesr.quantize.ptq import Recipe
from edgesr.quantize.scheme import LOWEST, QParams, QuantizedGraph
from torch import Tensor

from edgesr.data.colour import split
from edgesr.data.datasets import calibration_samples, pixel_hash
from edgesr.data.images import Image
from edgesr.errors import UnsupportedError, UsageError
from edgesr.graph import output_of
from edgesr.network import Network
from edgesr.targets import Target, find_target

Report = Callable[[float], object]
"""Told after every tile which part of the images is done, 0..1."""

PROBES = 3
"""Patches on which the effect of each layer on the output is measured: busy, flat, of different
images."""
_TILE_SHARE = 0.65
"""Of the time for tiles; the rest is for probes, which run the graph once per layer."""
_CROPS = 4
BARE = Recipe(observer="minmax", equalize=False, rounding=False, bias_correction=False)
"""Ranges and nearest codes, nothing healed: shows the network's own condition, in seconds."""
_BARE_NOTE = (
    "Quantized plainly for this examination (min-max ranges, nearest codes), to see the network's "
    "own condition. `edgesr quantize ptq {model} --out FILE.int8.safetensors` treats it, and "
    "`edgesr doctor FILE.int8.safetensors` sees what is left."
)
_FILE_NOTE = "MODEL, in commands, is the float network that this file was made from."
_FILE_SIDE = 96
"""LR pixels of the tile the target's file is written for."""


def examine(
    subject: Network | QuantizedGraph,
    samples: Iterable[Sample],
    *,
    target: str = "tflite",
    calibration: Iterable[Image] | None = None,
    recipe: Recipe = BARE,
    model: str = "",
    ptq_of: str = "",
    data: str = "",
    images: int | None = None,
    budget: Budget | None = None,
    report: Report | None = None,
) -> Diagnosis:
    """Say what int8 does to a network, where, why, and what to do about it.

    Args:
        subject: a network, which is quantized by `recipe` first; or a quantized graph, which is
            compared with the float graph inside it.
        samples: images to look at, read one at a time; with ground truth, the loss in dB is known.
        target: `tflite`, `onnx` or `openvino`.
        calibration: low-resolution photos for quantizing; None takes the shipped samples.
        recipe: how a network is quantized; the default heals nothing, so that all shows.
        model, data: what to call them, in the commands that fix what is found.
        ptq_of: what to call the float network where `model` is a file in 8 bits; else `model`.
        images: how many samples there are, so that each gets its share of the time.
        budget: how long to look.
        report: told of progress.

    Raises:
        UsageError: unknown target, no image, or an image too small.
        UnsupportedError: a scale that is not one whole number, or a network that cannot be traced.
    """
    goal = find_target(target)
    begin = time.monotonic()
    name = model or subject.network.name if isinstance(subject, QuantizedGraph) else subject.name
    blank = Diagnosis(
        model or name, name if isinstance(subject, Network) else subject.network.name,
        goal.name, data, (),
        ptq_of=ptq_of or model or name, qat_of=model or name,
    )  # fmt: skip
    if isinstance(subject, Network):
        made = _quantized(subject, calibration, recipe)
        if not isinstance(made, QuantizedGraph):
            rows = findings.of_obstacles(made, goal.name)
            note = "Nothing else was examined: these layers keep the network from becoming int8."
            return replace(blank, findings=rows, notes=(note,), seconds=time.monotonic() - begin)
        quantized = made
    else:
        quantized = subject
    if not isinstance(quantized.network.scale, int):
        raise UnsupportedError(
            f"{blank.network} enlarges by {quantized.network.scale}; whole scales only"
        )
    seen = _look(quantized, samples, goal, budget or Budget(), images, report)
    if isinstance(subject, Network) and recipe == BARE:
        seen.notes.insert(0, _BARE_NOTE.format(model=blank.subject))
    if blank.ptq_of == MODEL:
        seen.notes.append(_FILE_NOTE)
    diagnosis = replace(
        blank,
        layers=seen.layers, output=seen.output, images=seen.images, crops=seen.crops,
        runtime=seen.runtime, calibration=dict(quantized.calibration), notes=tuple(seen.notes),
    )  # fmt: skip
    rows = findings.of_figures(diagnosis, seen.obstacle, seen.calibrated_on)
    return replace(diagnosis, findings=rows, seconds=time.monotonic() - begin)


def _quantized(
    network: Network, calibration: Iterable[Image] | None, recipe: Recipe
) -> QuantizedGraph | list[tuple[str, str]]:
    """The network by this recipe; or what keeps it from being int8."""
    lowered, plain, _ = prepare(network)
    try:
        found = obstacles(spell(lowered))
        if found:
            return found
        images = calibration_samples() if calibration is None else calibration
        return quantize(lowered, plain, images, recipe=recipe)
    except UnsupportedError as error:
        return [("", str(error))]


@dataclass
class _Seen:
    """What looking gave; see `Diagnosis`."""

    layers: tuple[LayerFigures, ...] = ()
    output: OutputFigures | None = None
    images: tuple[ImageFigures, ...] = ()
    crops: tuple[Crop, ...] = ()
    runtime: RuntimeFigures | None = None
    obstacle: str = ""
    calibrated_on: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Examination:
    """Everything that is summed up over tiles."""

    def __init__(self, quantized: QuantizedGraph) -> None:
        self.quantized, self.network = quantized, quantized.network
        self.places = places(quantized)
        self.tallies = {place.node.name: Tally(place) for place in self.places}
        self.codes = CodeRanges(quantized.graph)
        self.output = OutputTally(self.network.channels)
        self.result = output_of(quantized.graph).name
        self._observer = Observer(quantized, self.tallies)

    def tile(self, pixels: Image) -> tuple[Image, npt.NDArray[np.float32]]:
        """Run a tile both ways. uint8 in; int8's pixels and float's, HxWxC in 8-bit steps."""
        kept: dict[str, Tensor] = {}

        def visit(name: str, codes: Tensor) -> None:
            self.codes.include(name, codes)
            if name in self.tallies:  # 8 bits in a quarter of the memory
                wide = self.quantized.activations[name].bits > 8
                kept[name] = codes.to(torch.int16 if wide else torch.int8)

        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
        integers = integer.execute(self.quantized, x + LOWEST, visit)
        floats = self._observer.compare(x * (self.network.value_range / 255), kept)
        step = 255 / self.network.value_range
        smooth = floats[0].permute(1, 2, 0).mul(step).clamp(0, 255).contiguous().numpy()
        return _pixels(integers, self.quantized.activations.get(self.result), step), smooth


def _pixels(codes: Tensor, params: QParams | None, step: float) -> Image:
    """What a program shows of the output codes; they are pixels where the scale is 1/255."""
    values = codes if params is None else (codes.float() - params.zero_point) * params.scale
    rounded = torch.round(values.float() * step).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(rounded[0].permute(1, 2, 0).numpy())


def _look(
    quantized: QuantizedGraph,
    samples: Iterable[Sample],
    goal: Target,
    budget: Budget,
    images: int | None,
    report: Report | None,
) -> _Seen:
    network = quantized.network
    scale = network.scale
    assert isinstance(scale, int)
    examination, tiling = Examination(quantized), tiling_of(network)
    known = set(quantized.calibration.get("images") or ())
    images_seen: list[ImageFigures] = []
    crops: list[Crop | None] = []
    probes: list[Tensor] = []
    seen = _Seen()
    clock = Clock(budget.seconds)
    file_tile: Image | None = None
    tile_end = budget.seconds * (1 - _TILE_SHARE)
    for sample in samples:
        if images_seen and clock.left < tile_end:
            seen.notes.append(
                f"{len(images_seen)} of {images or 'all'} images were examined before time was up; "
                "--seconds gives more."
            )
            break
        sample = cut(sample, tiling.multiple, scale)
        if hashes(sample) & known:
            seen.calibrated_on.append(sample.name)
        pixels = to_pixels(sample.lr, network)
        found, total_tiles = windows(pixels, tiling, budget.tiles_per_image)
        tally = ImageTally(sample, scale, network.colour == "y", total_tiles)
        before = len(images_seen)
        share = (clock.left - tile_end) / max((images or before + 3) - before, 1)
        for number, window in enumerate(take(found, clock, share), 1):
            int8, smooth = examination.tile(window.of(pixels))
            inner = _kept(window, scale)
            examination.output.include(int8[inner], smooth[inner])
            tally.include(window, int8[inner], smooth[inner])
            if report is not None:
                report((before + number / len(found)) / (images or before + 1))
        images_seen.append(tally.figures())  # the picture itself is let go
        crops.append(tally.crop)
        probes += [_probe(w.of(pixels), network) for w in found[: 2 if len(probes) == 0 else 1]]
        if file_tile is None:
            file_tile = _file_tile(found[0].of(pixels), tiling.multiple)
    if not images_seen or file_tile is None:
        raise UsageError("no image to examine; --data takes a folder, an image or a known set")
    examined, there = sum(i.tiles_examined for i in images_seen), sum(i.tiles for i in images_seen)
    if examined < there:
        seen.notes.append(
            f"{examined} of {there} tiles were examined, busy and flat ones first "
            f"({budget.seconds:.0f} s allowed); --seconds gives more."
        )
    effects = impacts(quantized, examination.places, probes[:PROBES], clock)
    _note_probes(seen, effects, examination.places)
    seen.layers = figures(quantized, examination.tallies, examination.codes, effects, IMBALANCE)
    seen.output = examination.output.figures(
        quantized.activations.get(examination.result), network.value_range
    )
    seen.images = tuple(images_seen)
    seen.crops = worst_crops(crops, _CROPS)
    seen.runtime, problem = run_file(quantized, goal, file_tile)
    if problem and seen.runtime is None:
        seen.obstacle = problem
    elif problem:
        seen.notes.append(problem)
    return seen


def _note_probes(seen: _Seen, effects: dict[str, float], known: list[Place]) -> None:
    if len(effects) < len(known):
        seen.notes.append(
            f"The effect on the picture was measured for {len(effects)} of {len(known)} layers "
            "before time was up; --seconds gives more."
        )


def to_pixels(image: Image, network: Network) -> Image:
    """What the network reads of an RGB image: itself, or its luma. uint8 HxWxC."""
    return split(image)[0] if network.colour == "y" else image


def cut(sample: Sample, multiple: int, scale: int) -> Sample:
    """Sides cut to what the network takes."""
    height, width = (side // multiple * multiple for side in sample.lr.shape[:2])
    hr = None if sample.hr is None else sample.hr[: height * scale, : width * scale]
    return replace(sample, lr=sample.lr[:height, :width], hr=hr)


def hashes(sample: Sample) -> set[str]:
    """Of its pixels, to find it among the calibration images."""
    return {pixel_hash(image) for image in (sample.lr, sample.hr) if image is not None}


def _kept(window: Window, scale: int) -> tuple[slice, slice]:
    """The part of a window's output that counts."""
    rows, columns = (
        slice((s.keep_start - s.start) * scale, (s.keep_stop - s.start) * scale)
        for s in (window.rows, window.columns)
    )
    return rows, columns


def _probe(pixels: Image, network: Network) -> Tensor:
    side = SIDE // network.pad_multiple * network.pad_multiple or network.pad_multiple
    return to_input(_middle(pixels, side), network)


def _file_tile(pixels: Image, multiple: int) -> Image:
    return _middle(pixels, max(_FILE_SIDE // multiple, 1) * multiple)


def _middle(pixels: Image, side: int) -> Image:
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])

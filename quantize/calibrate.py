"""Which values does each tensor take? A calibration run, and the file that keeps what it saw.

Photos stream from disk; of each, three patches of 96 pixels are kept as bytes, so a thousand
photos take 80 MB whatever their size. The patches are run twice: once for the extremes of every
channel, which equalization needs, and once on the equalized graph for the histograms that
observers choose ranges from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from edgesr.quantize.equalize import Extremes
from edgesr.quantize.observers import BINS, Histogram
from torch import Tensor, fx

from edgesr.data.colour import split
from edgesr.data.datasets import pixel_hash
from edgesr.data.images import Image
from edgesr.errors import CheckpointError, UsageError
from edgesr.graph import layer_of, tensor_nodes
from edgesr.network import Network

PATCH = 96
"""Side of a calibration patch in low-resolution pixels."""
PATCHES_PER_IMAGE = 3
COUNTED = 2**15
"""About as many values of a tensor go into its histogram from each patch; all into its extremes."""

Report = Callable[[str, int, int], object]
"""Called with what is done, how much of it, and how much there is."""


def quiet(what: str, done: int, total: int) -> None:
    """The report that says nothing."""


@dataclass
class Photos:
    """Patches to calibrate on, and which images they are from."""

    patches: list[Image] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    """Pixel hashes of the images, in the order they came."""

    def batch(self, network: Network, count: int) -> Tensor:
        """Up to `count` patches of the commonest size, spread over all images, as one tensor."""
        sizes = [patch.shape for patch in self.patches]
        common = max(set(sizes), key=sizes.count)
        alike = [patch for patch in self.patches if patch.shape == common]
        picks = np.unique(np.linspace(0, len(alike) - 1, count).round().astype(int))
        return torch.cat([to_input(alike[pick], network) for pick in picks])


def gather(
    network: Network,
    images: Iterable[Image],
    *,
    forbidden: Collection[str] = frozenset(),
    report: Report = quiet,
) -> Photos:
    """Cut patches from images.

    Args:
        network: says what sizes it takes.
        images: uint8 HxWx3 RGB, low resolution. Consumed one at a time.
        forbidden: pixel hashes (`pixel_hash`) of evaluation images; calibrating on those would
            flatter every later figure.

    Raises:
        UsageError: no image, an image of another kind, or a forbidden one.
    """
    photos = Photos()
    for image in images:
        _check(image)
        digest = pixel_hash(image)
        if digest in forbidden:
            raise UsageError(
                f"calibration image {len(photos.hashes) + 1} ({image.shape[1]}x{image.shape[0]}) "
                "is also in the evaluation data; leave it out, or the measured quality means "
                "nothing"
            )
        photos.hashes.append(digest)
        photos.patches += [patch.copy() for patch in patches(image, multiple=network.pad_multiple)]
        report("reading photos", len(photos.hashes), 0)
    if not photos.hashes:
        raise UsageError("no calibration image: int8 needs at least one photo to choose its ranges")
    return photos


def observe_channels(
    graph: fx.GraphModule,
    network: Network,
    photos: Photos,
    found: Extremes | None = None,
    *,
    start: int = 0,
    report: Report = quiet,
) -> Extremes:
    """Smallest and largest value of every channel of every tensor.

    Args:
        found: of the first `start` patches; more is added to it.
        report: called after every patch, when `found` is complete up to there.

    Raises:
        CheckpointError: a layer computes NaN or infinity.
    """
    found = {} if found is None else found

    def visit(node: fx.Node, value: Tensor) -> None:
        axes = [axis for axis in range(value.dim()) if axis != 1]
        low, high = (bound.double().numpy() for bound in (value.amin(axes), value.amax(axes)))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise CheckpointError(
                f"layer `{layer_of(node)}` ({node.name}) computes NaN or infinity on a photo; "
                "its weights are damaged or the network expects another value range"
            )
        if node.name in found:
            low, high = np.minimum(low, found[node.name][0]), np.maximum(high, found[node.name][1])
        found[node.name] = low, high

    _run(graph, network, photos, visit, start, "ranges", report)
    return found


def observe_values(
    graph: fx.GraphModule,
    network: Network,
    photos: Photos,
    found: dict[str, Histogram],
    *,
    start: int = 0,
    report: Report = quiet,
) -> dict[str, Histogram]:
    """Count values of every tensor, evenly spaced.

    Args:
        found: by node name, of the first `start` patches; more is added to it. Its bounds are
            those of all patches.
        report: called after every patch, when `found` is complete up to there.
    """

    def visit(node: fx.Node, value: Tensor) -> None:
        seen = found[node.name]
        low, high = (float(bound) for bound in value.aminmax())
        seen.low, seen.high = min(seen.low, low), max(seen.high, high)
        seen.extremes.append((low, high))
        if seen.high > seen.low:
            sample = value.flatten()[:: max(1, value.numel() // COUNTED)].float()
            seen.counts += torch.histc(sample, BINS, seen.low, seen.high).numpy()

    _run(graph, network, photos, visit, start, "histograms", report)
    return found


def patches(image: Image, *, size: int = PATCH, multiple: int = 1) -> Iterator[Image]:
    """A few patches that span what the image holds: the busiest, the darkest, the brightest.

    Smaller images are yielded whole. Sides are cut to a multiple of `multiple`.
    """
    height, width = (min(side, size) // multiple * multiple for side in image.shape[:2])
    if not height or not width:
        raise UsageError(
            f"a calibration image of {image.shape[1]}x{image.shape[0]} is too small; the network "
            f"needs at least {multiple}x{multiple}"
        )
    tops = range(0, image.shape[0] - height + 1, height)
    lefts = range(0, image.shape[1] - width + 1, width)
    tiles = [image[top : top + height, left : left + width] for top in tops for left in lefts]
    brightness = [float(tile.mean()) for tile in tiles]
    texture = [float(np.abs(np.diff(tile.astype(np.int16), axis=1)).sum()) for tile in tiles]
    order = np.argsort(brightness, kind="stable")
    picks = dict.fromkeys([int(np.argmax(texture)), int(order[0]), int(order[-1])])
    for pick in list(picks)[:PATCHES_PER_IMAGE]:
        yield tiles[pick]


def to_input(image: Image, network: Network) -> Tensor:
    """uint8 HxWx3 (or HxWx1 for luma networks) to the network's 1xCxHxW floats."""
    if network.colour == "y" and image.shape[2] == 3:
        image, _ = split(image)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return pixels.float() * (network.value_range / 255)


def _check(image: Image) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(
            f"calibration images are uint8 HxWx3, this one is {image.dtype} of shape {image.shape}"
        )


def _run(
    graph: fx.GraphModule,
    network: Network,
    photos: Photos,
    visit: Callable[[fx.Node, Tensor], None],
    start: int,
    what: str,
    report: Report,
) -> None:
    carriers = set(tensor_nodes(graph))

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in carriers and isinstance(result, Tensor):
                visit(n, result)
            return result

    with torch.inference_mode():
        for done in range(start, len(photos.patches)):
            Recorder(graph).run(to_input(photos.patches[done], network))
            report(what, done + 1, len(photos.patches))

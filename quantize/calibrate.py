"""Which values does each tensor take? Observed on patches of photos, one patch at a time.

A patch is dropped as soon as it was run and only two numbers per tensor are kept, so a folder of
any size fits in memory. Min-max is the observer: clipping ranges make 0 or 255 unreachable and
tint flat areas, which costs more in super-resolution than the wider steps do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
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


@dataclass
class Observation:
    """Smallest and largest value of every tensor, and of which images."""

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By node name."""
    patches: int = 0
    hashes: list[str] = field(default_factory=list)
    """Pixel hashes of the images, in the order they came."""

    def include(self, name: str, value: Tensor) -> None:
        """Widen the range of `name` by the values of a tensor."""
        low, high = (float(bound) for bound in value.aminmax())
        known = self.ranges.get(name)
        self.ranges[name] = (min(low, known[0]), max(high, known[1])) if known else (low, high)


def observe(
    graph: fx.GraphModule,
    network: Network,
    images: Iterable[Image],
    *,
    forbidden: Collection[str] = frozenset(),
) -> Observation:
    """Run patches of the images and note the range of every tensor.

    Args:
        graph: canonical or lowered.
        network: says what the input means.
        images: uint8 HxWx3 RGB, low resolution. Consumed one at a time.
        forbidden: pixel hashes (`pixel_hash`) of evaluation images; calibrating on those would
            flatter every later figure.

    Raises:
        UsageError: no image, an image of another kind, or a forbidden one.
        CheckpointError: a layer computes NaN or infinity.
    """
    found = Observation()
    for image in images:
        _check(image)
        digest = pixel_hash(image)
        if digest in forbidden:
            raise UsageError(
                f"calibration image {len(found.hashes) + 1} ({image.shape[1]}x{image.shape[0]}) is "
                "also in the evaluation data; leave it out, or the measured quality means nothing"
            )
        found.hashes.append(digest)
        for patch in patches(image, multiple=network.pad_multiple):
            _run(graph, to_input(patch, network), found)
            found.patches += 1
    if not found.hashes:
        raise UsageError("no calibration image: int8 needs at least one photo to choose its ranges")
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


def _run(graph: fx.GraphModule, x: Tensor, found: Observation) -> None:
    carriers = set(tensor_nodes(graph))

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if n in carriers and isinstance(result, Tensor):
                found.include(n.name, result)
                if not all(np.isfinite(found.ranges[n.name])):
                    raise CheckpointError(
                        f"layer `{layer_of(n)}` ({n.name}) computes NaN or infinity on a photo; "
                        "its weights are damaged or the network expects another value range"
                    )
            return result

    with torch.inference_mode():
        Recorder(graph).run(x)

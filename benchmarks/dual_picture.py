"""What DRN learns, and what LR consistency sees, as one picture.

    python -m edgesr.benchmarks.dual_picture runs/dual/seed0-dual0.1/state.pt --out drn.webp

The state is one that `edgesr.benchmarks.dual` leaves. First row: a photo and the images of the tiny
DRN at twice and four times its size. Second row: its dual heads' way back from each, and how far
that ends from the photo. Third row: how far the x4 image is from the photo once reduced by bicubic,
as it is, shifted by one pixel, and with a tint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from edgesr.benchmarks.dual import BLOCKS, CHANNELS, SCALE
from edgesr.benchmarks.panel import amplified_difference, busiest_crop, panel

from edgesr.adapt.dual import DualRegression
from edgesr.adapt.step import as_batch, as_image
from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.datasets import SAMPLES
from edgesr.data.images import Image, ImageFile, read_image, write_image
from edgesr.errors import CheckpointError, EdgesrError
from edgesr.metrics.consistency import lr_consistency
from edgesr.models.drn import DRN
from edgesr.train.state import read_state

SIDE = 72
"""Of the part of the small photo that is shown."""
GAIN = 8
"""Differences are shown this many times as large."""
TINT = np.array([6, 0, -6])


def load_loop(state: Path) -> tuple[DRN, DualRegression]:
    """The tiny DRN and its dual heads.

    Raises:
        BadFileError, CheckpointError: no such state.
    """
    network, objective = DRN(SCALE, CHANNELS, BLOCKS), DualRegression(SCALE)
    content = read_state(state, "average", "objective")
    try:
        network.load_state_dict(content["average"])
        objective.load_state_dict(content["objective"])
    except RuntimeError as error:
        raise CheckpointError(
            f"{state} is not of the DRN that `python -m edgesr.benchmarks.dual` trains"
        ) from error
    return network.eval().requires_grad_(False), objective.eval().requires_grad_(False)


def draw(network: DRN, objective: DualRegression, photo: Image) -> Image:
    """The picture. `photo`: uint8 HxWx3, the original; it is reduced first."""
    low = imresize(crop_to_multiple(photo, SCALE), 1 / SCALE)
    with torch.inference_mode():
        images = [image / 255 for image in network.images(as_batch(low) * 255)]
        back = [as_image(image) for image in objective.heads(images)]
    twice, large = as_image(images[1]), as_image(images[2])
    shifted = np.roll(large, 1, axis=1)
    tinted = np.clip(large.astype(int) + TINT, 0, 255).astype(np.uint8)
    y, x = busiest_crop(low, SIDE)

    def shown(image: Image) -> Image:
        """The same part of an image of any of the sizes, at the largest size."""
        factor = image.shape[0] // low.shape[0]
        part = image[y * factor : (y + SIDE) * factor, x * factor : (x + SIDE) * factor]
        return part.repeat(SCALE // factor, axis=0).repeat(SCALE // factor, axis=1)

    def way_back(image: Image) -> Image:
        return shown(amplified_difference(imresize(image, 1 / SCALE), low, GAIN))

    forward = {
        "photo": shown(low), "DRN: x2": shown(twice), "DRN: x4": shown(large),
    }  # fmt: skip
    returned = {
        "dual head: x4 to x2": shown(back[1]), "dual head: x2 to photo": shown(back[0]),
        f"from the photo, {GAIN} times": shown(amplified_difference(back[0], low, GAIN)),
    }  # fmt: skip
    alarm = {
        f"{name}: {lr_consistency(image, low):.1f} dB": way_back(image)
        for name, image in (
            ("LR consistency, x4", large),
            ("one pixel to the right", shifted),
            ("tinted by 6 levels", tinted),
        )
    }
    return panel([forward, returned, alarm])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.dual_picture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("state", type=Path, help="state.pt of a run with the dual loss")
    parser.add_argument("--photo", type=Path, default=SAMPLES / "evaluation" / "budgie.webp")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--force", action="store_true", help="overwrite")
    o = parser.parse_args()
    torch.set_num_threads(1)
    try:
        picture = draw(*load_loop(o.state), read_image(o.photo).pixels)
        write_image(ImageFile(picture), o.out, force=o.force)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{o.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

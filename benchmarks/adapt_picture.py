"""What steps bring, as one picture: a blurred photo by bicubic, before, after one and ten steps.

    python -m edgesr.benchmarks.adapt_picture mzsr-x2 --out adapt.webp

A sample photo is blurred along one direction and halved (`ani` of `edgesr.benchmarks.zero_shot`);
the middle of each enlargement is shown, with the PSNR on luma of all of it. The photo was among
those that the shipped weights were trained on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from edgesr.benchmarks.panel import panel
from edgesr.benchmarks.zero_shot import KERNELS, learner

from edgesr.adapt.step import adapt, enlarge
from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.datasets import SAMPLES
from edgesr.data.degradations.gaussian import blur_downscale
from edgesr.data.images import Image, ImageFile, read_image, write_image
from edgesr.errors import EdgesrError
from edgesr.metrics.psnr import psnr
from edgesr.models.mzsr import MZSR

SIDE = 120
"""Of the part that is shown, in pixels of the enlargement."""
ZOOM = 2


def draw(module: MZSR, photo: Image) -> Image:
    """The picture. `photo`: uint8 HxWx3, the original."""
    scale, kernel = module.scale, KERNELS["ani"]
    high = crop_to_multiple(photo, scale**2)
    low = blur_downscale(high, kernel, scale)
    images = {
        "bicubic": imresize(low, scale),
        "before": enlarge(adapt(module, low, kernel, 0), low),
        "one step": enlarge(adapt(module, low, kernel, 1), low),
        "ten steps": enlarge(adapt(module, low, kernel, 10), low),
    }
    top, left = (max(0, side - SIDE) // 2 for side in high.shape[:2])
    middle = np.s_[top : top + SIDE, left : left + SIDE]
    return panel(
        [{
            f"{name}: {psnr(image, high, scale):.2f} dB": image[middle]
            for name, image in images.items()
        }],
        zoom=ZOOM,
    )  # fmt: skip


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.adapt_picture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="mzsr-x2 or a checkpoint of it")
    parser.add_argument("--photo", type=Path, default=SAMPLES / "evaluation" / "dog.webp")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--force", action="store_true", help="overwrite")
    o = parser.parse_args()
    torch.set_num_threads(1)
    try:
        picture = draw(learner(o.model), read_image(o.photo).pixels)
        write_image(ImageFile(picture), o.out, force=o.force)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{o.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

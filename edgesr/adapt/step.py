"""Meta-test: a few gradient steps on the image itself, then enlarge it.

The low-resolution image is reduced once more with the same kernel; the network learns to undo
that, and with the weights it then has enlarges the image (MZSR, Soh et al., CVPR 2020, algorithm 2;
before it ZSSR, Shocher et al., CVPR 2018).
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from edgesr.adapt.kernel import centre_of
from edgesr.adapt.meta import Weights, adapted
from edgesr.data.bicubic import crop_to_multiple
from edgesr.data.degradations.gaussian import Kernel, Method, blur_downscale
from edgesr.data.images import Image
from edgesr.errors import UsageError
from edgesr.models.mzsr import MZSR

RATE = 0.05
"""Of every step: what the shipped weights were meta-trained with."""
LEARNED_SIDE = 512
"""Pixels: of larger images the middle is learned from. A step needs 4 KB for each pixel of it."""


def son_of(image: Image, kernel: Kernel, scale: int, method: Method = "direct") -> Image:
    """The image reduced once more, as it was reduced before.

    Raises:
        UsageError: the image is smaller than the kernel.
    """
    check_size(image, kernel, scale)
    return blur_downscale(crop_to_multiple(image, scale), kernel, scale, method)


def check_size(image: Image, kernel: Kernel, scale: int) -> None:
    """Refuse an image out of which nothing can be learned with this kernel."""
    height, width = image.shape[:2]
    needed = max(*kernel.shape, 4 * scale)
    if min(height, width) < needed:
        raise UsageError(
            f"the image is {width}x{height}, and the {kernel.shape[1]}x{kernel.shape[0]} kernel "
            f"needs {needed} pixels on both sides to learn from; give a larger image, or a "
            "smaller kernel"
        )


def placed(module: MZSR, kernel: Kernel, method: Method = "direct") -> MZSR:
    """A copy whose enlargement puts pixels where this kernel took them from."""
    copy = deepcopy(module)
    row, column = centre_of(kernel)
    middle = (module.scale - 1) / 2 if method == "bicubic" else 0.0
    copy.enlarge.place(middle + row, middle + column)
    return copy


def adapt(
    module: MZSR, image: Image, kernel: Kernel, steps: int, *, method: Method = "direct"
) -> MZSR:
    """A copy of the network that has learned from this image.

    Args:
        module: from `edgesr.load("mzsr-x2")`.
        image: uint8 HxWx3, low resolution.
        kernel: the blur it was made with, sum 1.
        steps: of gradient descent on the whole image, of a large one on its middle; 0 learns
            nothing.
        method: what followed the blur: `direct` subsampling or `bicubic` reduction.

    Raises:
        UsageError: the image is smaller than the kernel.
    """
    check_size(image, kernel, module.scale)  # before anything is cut off: it names the size
    adapting = placed(module, kernel, method).train().requires_grad_(True)
    image = crop_to_multiple(_middle(image), module.scale)
    low, high = as_batch(son_of(image, kernel, module.scale, method)), as_batch(image)
    weights: Weights = dict(adapting.named_parameters())
    for after in adapted(adapting, weights, low, high, [RATE] * steps):
        weights = after
    adapting.load_state_dict(weights)
    return adapting.eval().requires_grad_(False)


def _middle(image: Image) -> Image:
    top, left = (max(0, side - LEARNED_SIDE) // 2 for side in image.shape[:2])
    return image[top : top + LEARNED_SIDE, left : left + LEARNED_SIDE]


def enlarge(module: nn.Module, image: Image) -> Image:
    """The image through the network."""
    with torch.inference_mode():
        output = module(as_batch(image))
    return as_image(output)


def as_batch(image: Image) -> Tensor:
    """uint8 HxWx3 to 1 x 3 x H x W in [0, 1]."""
    pixels = np.array(image)  # a copy: decoded photos are read-only, of which torch warns
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return planes.contiguous(memory_format=torch.channels_last)


def as_image(batch: Tensor) -> Image:
    """The only image of a batch in [0, 1], rounded."""
    pixels: Image = (batch[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    return pixels

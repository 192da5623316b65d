"""Real-ESRGAN's second-order degradation: blur, resize, noise and JPEG, twice.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
ICCV Workshops 2021, section 3 and figure 2. A picture that was taken, shrunk, compressed and
passed on has been through each step more than once. `Draws` holds the paper's ranges; left out are
the sinc filter (ringing) and the generalized and plateau-shaped kernels: all blurs are Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from edgesr.data.bicubic import Image
from edgesr.data.degradations.gaussian import anisotropic_gaussian, blur
from edgesr.data.degradations.jpeg import jpeg
from edgesr.data.degradations.noise import gaussian_noise, poisson_noise

Range = tuple[float, float]

_FILTERS = (Pillow.Resampling.BOX, Pillow.Resampling.BILINEAR, Pillow.Resampling.BICUBIC)
"""The paper's area, bilinear and bicubic."""


@dataclass(frozen=True)
class Draws:
    """What one of the two passes draws from. Probabilities and ranges of the paper's training."""

    blurred: float
    """Share of pictures that are blurred."""
    sigma: Range
    """Width of the blur along either axis, in pixels."""
    resize: tuple[float, float, float]
    """Shares enlarged, reduced, kept."""
    factor: Range
    """Smallest and largest resize."""
    gaussian: Range
    poisson: Range
    quality: tuple[int, int] = (30, 95)
    gaussian_share: float = 0.5
    grey_share: float = 0.4


FIRST = Draws(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0))
SECOND = Draws(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))

_SIZES = (7, 9, 11, 13, 15, 17, 19, 21)


def second_order(
    image: Image, scale: int, rng: np.random.Generator, *, first: Draws = FIRST,
    second: Draws = SECOND,
) -> Image:  # fmt: skip
    """A degraded version of an original, at 1 / `scale` of its size.

    Args:
        image: uint8 HxWx3, sides that divide by `scale`.
        rng: decides everything.
    """
    height, width = image.shape[:2]
    size = (height // scale, width // scale)
    once = _pass(image, (height, width), first, rng)
    once = jpeg(once, int(rng.integers(first.quality[0], first.quality[1] + 1)))
    twice = _pass(once, size, second, rng)
    # The last resize and JPEG come in either order.
    quality = int(rng.integers(second.quality[0], second.quality[1] + 1))
    chosen = _FILTERS[rng.integers(len(_FILTERS))]
    if rng.random() < 0.5:
        return jpeg(_resized(twice, size, chosen), quality)
    return _resized(jpeg(twice, quality), size, chosen)


def _pass(image: Image, size: tuple[int, int], draws: Draws, rng: np.random.Generator) -> Image:
    """Blur, resize to a random share of `size`, noise."""
    if rng.random() < draws.blurred:
        widths = rng.uniform(*draws.sigma, 2)
        side = int(rng.choice(_SIZES))
        turn = rng.uniform(0, np.pi)
        image = blur(image, anisotropic_gaussian(side, widths[0] ** 2, widths[1] ** 2, turn))
    factor = _factor(draws, rng)
    chosen = _FILTERS[rng.integers(len(_FILTERS))]
    image = _resized(image, (round(size[0] * factor), round(size[1] * factor)), chosen)
    grey = bool(rng.random() < draws.grey_share)
    if rng.random() < draws.gaussian_share:
        return gaussian_noise(image, rng.uniform(*draws.gaussian), rng, grey=grey)
    return poisson_noise(image, rng.uniform(*draws.poisson), rng, grey=grey)


def _factor(draws: Draws, rng: np.random.Generator) -> float:
    low, high = draws.factor
    kind = rng.choice(3, p=draws.resize)
    if kind == 0:
        return float(rng.uniform(1.0, high))
    return float(rng.uniform(low, 1.0)) if kind == 1 else 1.0


def _resized(image: Image, size: tuple[int, int], chosen: Pillow.Resampling) -> Image:
    height, width = (max(1, side) for side in size)
    return np.array(Pillow.fromarray(image).resize((width, height), chosen))

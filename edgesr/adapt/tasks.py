"""Tasks to meta-train on: a blur kernel, and patches of photographs seen through it.

MZSR (Soh et al., CVPR 2020, section 4.1) draws one anisotropic Gaussian per task and learns from
its pairs. How a task is learned at test time is another thing: there is only the low-resolution
image, which is reduced once more with the same kernel. MLSR (Park et al., ECCV 2020) trains with
that very step; `Task.son` holds what it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgesr.data.degradations.gaussian import Kernel, Method, blur_downscale, random_anisotropic
from edgesr.data.images import Image
from edgesr.errors import BadFileError, UsageError


@dataclass(frozen=True)
class Task:
    """Patches seen through one kernel, in [0, 1]; each is the next one blurred and reduced."""

    kernel: Kernel
    son: Tensor
    """B x 3 x h/s x w/s."""
    low: Tensor
    """B x 3 x h x w."""
    high: Tensor
    """B x 3 x sh x sw: patches of photographs."""


class KernelTasks:
    """Draws tasks out of photographs.

    Args:
        photos: uint8 HxWx3, kept in memory.
        scale: enlargement.
        patch: side of the high-resolution patches, a multiple of `scale` squared.
        kernel: the only one; None draws one per task.
        method: what follows the blur.

    Raises:
        UsageError: the patch does not divide.
        BadFileError: no photo is as large as a patch.
    """

    def __init__(
        self,
        photos: Iterable[Image],
        scale: int,
        *,
        patch: int = 96,
        kernel: Kernel | None = None,
        method: Method = "direct",
    ) -> None:
        if patch % scale**2:
            raise UsageError(
                f"patches of {patch} pixels cannot be reduced x{scale} twice; give a multiple of "
                f"{scale**2}"
            )
        self.scale, self.patch = scale, patch
        self.kernel, self.method = kernel, method
        self._photos = [photo for photo in photos if min(photo.shape[:2]) >= patch]
        if not self._photos:
            raise BadFileError(f"no photo has {patch} pixels on both sides; give a smaller --patch")
        pixels = np.array([photo.shape[0] * photo.shape[1] for photo in self._photos], np.float64)
        self._share = pixels / pixels.sum()

    def draw(self, rng: np.random.Generator, patches: int) -> Task:
        """One task: a kernel, and `patches` patches of one photo."""
        kernel = random_anisotropic(rng, self.scale) if self.kernel is None else self.kernel
        photo = self._photos[int(rng.choice(len(self._photos), p=self._share))]
        high = np.concatenate([self._patch(photo, rng) for _ in range(patches)], axis=2)
        low = blur_downscale(high, kernel, self.scale, self.method)
        son = blur_downscale(low, kernel, self.scale, self.method)
        return Task(kernel, *(_as_batch(pixels) for pixels in (son, low, high)))

    def _patch(self, photo: Image, rng: np.random.Generator) -> Image:
        y, x = (int(rng.integers(side - self.patch + 1)) for side in photo.shape[:2])
        cut = np.rot90(photo[y : y + self.patch, x : x + self.patch], int(rng.integers(4)))
        return cut[:, ::-1] if rng.integers(2) else cut


def _as_batch(pixels: Image) -> Tensor:
    """H x W x 3B, as `blur_downscale` gives it, to B x 3 x H x W in [0, 1]."""
    side = pixels.shape[0]
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).reshape(side, side, -1, 3)
    batch = planes.permute(2, 3, 0, 1).float() / 255
    return batch.contiguous(memory_format=torch.channels_last)

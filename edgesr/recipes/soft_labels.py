"""Soft labels: originals averaged with what a teacher makes of the small photos.

What no network can know of the original is half as loud then, and what a large one has learned from
more photos than these is in the labels (Hinton et al., "Distilling the Knowledge in a Neural
Network", NIPS workshop 2014). With L2 the gradient is that of `output` distillation; there the
teacher is asked in every step, here once for every photo.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from edgesr.errors import EnvironmentLimitError, UsageError
from edgesr.network import Network
from edgesr.runtime.torch_session import NetworkSession
from edgesr.runtime.upscale import upscale
from edgesr.train.patches import PatchCache
from edgesr.train.progress import left


@dataclass(frozen=True)
class Labelled:
    """How far the labels are."""

    step: int
    """Photos done."""
    steps: int
    seconds_left: float | None
    """`None` where another training makes them."""

    def __str__(self) -> str:
        rest = "another training's" if self.seconds_left is None else left(self.seconds_left)
        return f"photo {self.step} of {self.steps}, {rest}"


def check(teacher: Network, scale: int) -> None:
    """Whether a teacher can label photos of this scale.

    Raises:
        UsageError: a teacher for another scale, or for luma.
    """
    if teacher.scale != scale or teacher.colour != "rgb":
        raise UsageError(
            f"`soft_labels` at x{scale} need an RGB network for x{scale}; "
            f"`{teacher.name}` is for {teacher.colour}, x{teacher.scale}"
        )


def soften(
    patches: PatchCache, teacher: Network, *, patience: float = 30,
    report: Callable[[Labelled], None] = lambda labelled: None,
) -> PatchCache:  # fmt: skip
    """The same photos, with soft labels. They are kept beside the cache and used again.

    Stopped and called again, it goes on with the photo it was at. Of several trainings, or
    processes of one, the first asks the teacher and the others wait.

    Args:
        patches: the photos.
        teacher: RGB network of the photos' scale.
        patience: seconds between reports, also of one that waits.
        report: called with each.

    Raises:
        UsageError: a teacher for another scale, or for luma.
        EnvironmentLimitError: the disk is full.
    """
    check(teacher, patches.scale)
    labels = patches.stem.with_name(f"{patches.stem.name}-{teacher.fingerprint()[:12]}.soft")
    part = labels.with_name(f"{labels.name}.part")
    while not labels.exists():
        try:
            with FileLock(f"{labels}.lock", timeout=patience):
                if not labels.exists():  # which another may have written meanwhile
                    _write(part, patches, teacher, patience, report)
                    part.replace(labels)
        except Timeout:
            report(Labelled(_whole(part, patches), len(patches.shapes), None))
        except OSError as error:
            cause = error.strerror or str(error)
            raise EnvironmentLimitError(f"cannot write {part}: {cause}") from error
    return patches.labelled(labels)


def _whole(part: Path, patches: PatchCache) -> int:
    """Labels that `part` holds whole."""
    try:
        size = part.stat().st_size
    except FileNotFoundError:  # not begun, or finished and renamed
        return 0
    return bisect_right(_ends(patches), size)


def _ends(patches: PatchCache) -> list[int]:
    """Where in the file each photo's labels end, in bytes."""
    return list(accumulate(3 * h * w * patches.scale**2 for h, w in patches.shapes))


def _write(
    part: Path, patches: PatchCache, teacher: Network, patience: float,
    report: Callable[[Labelled], None],
) -> None:  # fmt: skip
    """All labels, behind those that `part` holds whole."""
    session = NetworkSession(teacher, torch.get_num_threads())
    ends, first = _ends(patches), _whole(part, patches)
    known = ends[first - 1] if first else 0
    began = told = time.monotonic()
    with part.open("ab") as file:
        file.truncate(known)
        for done, (lr, hr) in enumerate(patches.images(first), first + 1):
            answer = upscale(session, lr)
            file.write(((answer.astype("u2") + hr + 1) // 2).astype("u1").tobytes())
            now = time.monotonic()
            if now - told >= patience or done == len(ends):
                told, end = now, ends[done - 1]
                # By pixels: photos differ in size.
                rest = (now - began) * (ends[-1] - end) / (end - known)
                report(Labelled(done, len(ends), rest))

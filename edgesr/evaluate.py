"""The judge: how good a network or an exported file is on a set of images.

    report = evaluate(open_model("plain-m-x3"), dataset("set14"), protocols=(LITERATURE, RGB))
    report.mean("Y").psnr

Every image is cropped to a multiple of the scale, shrunk with MATLAB's bicubic, enlarged by the
judged and by bicubic, and compared with the original under each protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from edgesr.data.bicubic import imresize
from edgesr.data.datasets import Dataset, pixel_hash
from edgesr.data.images import Image
from edgesr.errors import BadFileError, UsageError
from edgesr.manifest import Manifest
from edgesr.metrics.consistency import lr_consistency
from edgesr.metrics.psnr import LITERATURE, RGB, Protocol, psnr
from edgesr.metrics.ssim import WINDOW, ssim
from edgesr.network import Network
from edgesr.runtime import NetworkSession, Session, upscale
from edgesr.scales import Scale, factors, ratios, scale_text

Upscaler = Callable[[Image], Image]
Seen = Callable[[str, Image], None]


@dataclass(frozen=True)
class Score:
    """One comparison under one protocol."""

    psnr: float
    """dB."""
    ssim: float | None
    """On luma only, as papers report it."""


@dataclass(frozen=True)
class ImageScore:
    """One image: the judged and bicubic, by the protocol's colour (`Y`, `RGB`)."""

    image: str
    height: int
    width: int
    """Of the cropped original."""
    scores: dict[str, Score]
    bicubic: dict[str, Score]
    consistency: float
    """dB between the enlarged image, reduced again, and the input."""


@dataclass(frozen=True)
class EvalReport:
    """What was measured, on what, and how."""

    subject: str
    data: str
    scale: Scale
    protocols: tuple[Protocol, ...]
    images: tuple[ImageScore, ...]

    def mean(self, colour: str, *, bicubic: bool = False) -> Score:
        """Arithmetic mean over the images, as papers take it."""
        rows = [(image.bicubic if bicubic else image.scores)[colour] for image in self.images]
        similar = [row.ssim for row in rows if row.ssim is not None]
        return Score(fmean(row.psnr for row in rows), fmean(similar) if similar else None)

    def worst(self, colour: str) -> ImageScore:
        """The image with the lowest PSNR."""
        return min(self.images, key=lambda image: image.scores[colour].psnr)

    def rows(self) -> list[dict[str, Any]]:
        """One row per image, then `mean` and `worst`; the columns follow the protocols."""
        worst = self.worst(self.protocols[0].colour)
        named = [(i.image, i.scores, i.bicubic, i.consistency) for i in self.images]
        colours: list[str] = [protocol.colour for protocol in self.protocols]
        means = {c: self.mean(c) for c in colours}
        enlarged = {c: self.mean(c, bicubic=True) for c in colours}
        consistent = fmean(image.consistency for image in self.images)
        named.append(("mean", means, enlarged, consistent))
        named.append((f"worst: {worst.image}", worst.scores, worst.bicubic, worst.consistency))
        return [_row(name, scores, bicubic) | {"lr": lr} for name, scores, bicubic, lr in named]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON and for `Manifest.quality`."""
        return {
            "subject": self.subject,
            "data": self.data,
            "scale": self.scale,
            "protocols": {p.colour: str(p) for p in self.protocols},
            "images": len(self.images),
            "rows": self.rows(),
        }


def _row(name: str, scores: dict[str, Score], bicubic: dict[str, Score]) -> dict[str, Any]:
    row: dict[str, Any] = {"image": name}
    for colour, score in scores.items():
        suffix = colour.lower()
        row[f"psnr_{suffix}"] = score.psnr
        if score.ssim is not None:
            row[f"ssim_{suffix}"] = score.ssim
        row[f"bicubic_{suffix}"] = bicubic[colour].psnr
        row[f"gain_{suffix}"] = score.psnr - bicubic[colour].psnr
    return row


def evaluate(
    subject: Session | Network | Upscaler,
    data: Dataset,
    scale: Scale | None = None,
    protocols: tuple[Protocol, ...] = (LITERATURE, RGB),
    *,
    name: str = "",
    seen: Seen | None = None,
) -> EvalReport:
    """Judge `subject` on `data`.

    Args:
        subject: a session, a network (run in torch), or any function from a uint8 HxWx3 image to
            its enlargement.
        scale: needed for a function; else the subject's own.
        protocols: one per colour.
        name: of the subject, in the report.
        seen: called with each image's name and its enlargement.

    Raises:
        UsageError: the scale is not the subject's, or the subject was calibrated on this data.
        BadFileError: an image cannot be read, or is too small to be judged.
    """
    session = NetworkSession(subject) if isinstance(subject, Network) else subject
    manifest: Manifest | None = getattr(session, "manifest", None)
    scale = _scale(manifest, scale)
    run = session if manifest is None else (lambda image: upscale(session, image))  # type: ignore[arg-type]
    images = []
    for label, lr, hr in pairs(data, scale, protocols):
        refuse_calibrated(manifest, label, lr, hr)
        sr = run(lr)  # type: ignore[operator]
        if seen is not None:
            seen(label, sr)
        enlarged = imresize(lr, scale)
        images.append(
            ImageScore(
                label, hr.shape[0], hr.shape[1],
                {p.colour: _score(sr, hr, scale, p) for p in protocols},
                {p.colour: _score(enlarged, hr, scale, p) for p in protocols},
                lr_consistency(sr, lr),
            )
        )  # fmt: skip
    subject_name = name or (manifest.artifact or manifest.network if manifest else "function")
    return EvalReport(subject_name, data.name, scale, protocols, tuple(images))


def bicubic(scale: Scale) -> Upscaler:
    """The baseline as a subject."""
    return lambda image: imresize(image, scale)


def low_resolution(hr: Image, scale: Scale) -> tuple[Image, Image]:
    """What a network is given and what its result is compared with: (LR, cropped HR).

    A side enlarged by `p / q` is cropped to a multiple of `p`, so that both sizes are whole; for
    scales in tenths and halves these are ArbSR's sizes.
    """
    height, width = _cropped(hr.shape[0], hr.shape[1], scale)
    hr = hr[:height, :width]
    vertical, horizontal = factors(scale)
    return imresize(hr, (1 / vertical, 1 / horizontal)), hr


def _cropped(height: int, width: int, scale: Scale) -> tuple[int, int]:
    vertical, horizontal = ratios(scale)
    return height - height % vertical.numerator, width - width % horizontal.numerator


def _score(sr: Image, hr: Image, scale: Scale, protocol: Protocol) -> Score:
    similar = ssim(sr, hr, scale, protocol) if protocol.colour == "Y" else None
    return Score(psnr(sr, hr, scale, protocol), similar)


def _scale(manifest: Manifest | None, scale: Scale | None) -> Scale:
    if manifest is None:
        if scale is None:
            raise UsageError("give the scale of the function that is judged")
        return scale
    if scale not in (None, manifest.scale):
        own, asked = scale_text(manifest.scale), scale_text(scale or 0)
        raise UsageError(f"{manifest.network} enlarges x{own}, not x{asked}")
    return manifest.scale


def pairs(
    data: Iterable[tuple[str, Image]], scale: Scale, protocols: tuple[Protocol, ...]
) -> Iterator[tuple[str, Image, Image]]:
    """Label, low-resolution input and cropped original of every image.

    Raises:
        BadFileError: an image is too small to be judged.
    """
    smallest = WINDOW + 2 * max(protocol.border(scale) for protocol in protocols)
    for label, image in data:
        if min(_cropped(image.shape[0], image.shape[1], scale)) < smallest:
            text = scale_text(scale)
            raise BadFileError(
                f"{label} is {image.shape[1]}x{image.shape[0]}: too small to judge x{text}, "
                f"both sides need {smallest} pixels after cropping to a multiple of {text}"
            )
        yield (label, *low_resolution(image, scale))


def refuse_calibrated(manifest: Manifest | None, label: str, *images: Image) -> None:
    """Raise `UsageError` if the judged was calibrated on one of these images."""
    known = manifest.calibration.get("images") if manifest else None
    if not isinstance(known, list):
        return
    for image in images:
        if pixel_hash(image) in known:
            raise UsageError(
                f"{label} is one of the images {manifest.artifact if manifest else ''} was "
                "calibrated on; a figure on it would flatter: judge on other images"
            )

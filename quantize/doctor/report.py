"""One self-contained page of a diagnosis: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgesr.quantize.doctor.diagnosis import Crop, Diagnosis, Severity
from edgesr.quantize.doctor.picture_rules import colours
from edgesr.quantize.doctor.pictures import (
    data_uri,
    decibels,
    difference,
    histogram_chart,
    sqnr_chart,
)  # fmt: skip
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from edgesr.manifest import write_atomically

TEMPLATE = Path(__file__).with_name("report.html")
HISTOGRAMS = 6
"""Layers whose values are shown: those that cost the picture most."""
_VERDICTS = {
    Severity.OK: "healthy",
    Severity.NOTICE: "minor complaints",
    Severity.PROBLEM: "needs treatment",
}


def render(diagnosis: Diagnosis) -> str:
    """The page as HTML."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(db=decibels, number=_number, percent=_percent)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    worst = diagnosis.worst_layers(HISTOGRAMS)
    return template.render(
        d=diagnosis,
        verdict=_VERDICTS[diagnosis.severity],
        level=diagnosis.severity.name.lower(),
        counts=_counts(diagnosis),
        tiles=_tiles(diagnosis),
        chart=Markup(sqnr_chart(diagnosis.layers)),
        histograms=[(layer, Markup(histogram_chart(layer.histogram))) for layer in worst],
        crops=[_crop(crop, diagnosis.reference) for crop in diagnosis.crops],
        truth=any(image.int8_truth is not None for image in diagnosis.images),
        examined=sum(image.tiles_examined for image in diagnosis.images),
        there=sum(image.tiles for image in diagnosis.images),
    )


def write(diagnosis: Diagnosis, path: Path) -> None:
    """Write the page; whoever asks the user checks before whether it is there.

    Raises:
        EnvironmentLimitError: read-only folder, disk full.
    """
    write_atomically(path, render(diagnosis).encode())


def _counts(diagnosis: Diagnosis) -> list[tuple[str, int]]:
    found = [finding.severity for finding in diagnosis.findings]
    return [
        (severity.name.lower(), found.count(severity))
        for severity in sorted(Severity, reverse=True)
        if severity in found
    ]


def _tiles(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """Headline figures: heading, value, note."""
    rows = []
    lost = diagnosis.mean("drop")
    if lost is not None:
        rows.append(("int8 loses", f"{lost:.3f} dB", "vs the ground truth, mean of the images"))
    against = diagnosis.mean("against_float")
    if against is not None:
        rows.append(("int8 vs fp32", f"{decibels(against)} dB", "PSNR, Y, shave = scale"))
    back, theirs = diagnosis.mean("int8_back"), diagnosis.mean("reference_back")
    if back is not None:
        note = "PSNR of the picture, reduced again, and its input"
        beside = "" if theirs is None else f"; {diagnosis.reference} {decibels(theirs)}"
        rows.append(("LR consistency", f"{decibels(back)} dB", note + beside))
    output = diagnosis.output
    if output is not None:
        tint = ", ".join(
            f"{name}\N{NO-BREAK SPACE}{value:+.2f}"
            for name, value in zip(colours(diagnosis), output.tint, strict=True)
        )
        rows.append(("tint", f"{max(output.tint, key=abs):+.2f}", f"steps of 255: {tint}"))
        if output.flat is not None:
            edges = f"{100 * output.flat.false_edges:.2g} %"
            note = f"false edges on flat areas ({100 * output.flat.share:.0f} % of the picture)"
            rows.append(("banding", edges, note))
    run = diagnosis.runtime
    if run is not None and run.identical is not None:
        same = f"{100 * run.identical:.4g} %"
        rows.append(("runtime", same, f"of pixels equal to the reference; {run.runtime}"))
    return rows


def _crop(crop: Crop, reference: str) -> dict[str, Any]:
    shown = [
        (reference, crop.float_pixels),
        ("int8", crop.int8_pixels),
        ("difference x8", difference(crop.float_pixels, crop.int8_pixels)),
    ]
    if crop.truth is not None:
        shown.append(("ground truth", crop.truth))
    return {
        "title": f"{crop.image}, at {crop.left}, {crop.top}: {decibels(crop.against_float)} dB",
        "pictures": [(caption, data_uri(pixels)) for caption, pixels in shown],
    }


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g} %"

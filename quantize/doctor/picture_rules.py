"""Rules about the picture: tint, banding, black and white, and dB."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgesr.quantize.doctor import remedies
from edgesr.quantize.doctor.diagnosis import Diagnosis, Finding, Severity
from edgesr.quantize.doctor.thresholds import (
    BELOW_BICUBIC,
    BLACK_WHITE,
    DROP,
    FALSE_EDGES,
    LEVELS,
    MANY_FALSE_EDGES,
    MUCH_DROP,
    MUCH_TINT,
    TINT,
)

OK, NOTICE, PROBLEM = Severity.OK, Severity.NOTICE, Severity.PROBLEM


def tint(d: Diagnosis) -> Iterator[Finding]:
    """A mean error: the picture is brighter, darker or coloured."""
    if d.output is None:
        return
    worst = max(d.output.tint, key=abs)
    size = max(abs(worst), abs(d.output.brightness))
    channels = ", ".join(
        f"{name} {value:+.2f}" for name, value in zip(colours(d), d.output.tint, strict=True)
    )
    figure = f"{channels} steps of 255"
    if size < TINT:
        yield Finding(
            OK, "tint", "", figure, f"int8 is as bright as {d.reference}, in every colour"
        )
        return
    spread = max(d.output.tint) - min(d.output.tint)
    kind = "tinted" if spread > TINT else ("brighter" if d.output.brightness > 0 else "darker")
    yield Finding(
        PROBLEM if size >= MUCH_TINT else NOTICE, "tint", "", figure,
        f"int8 is {kind} against {d.reference}: rounding moves the mean of the layers' outputs",
        "correct the biases by the mean error", remedies.correct(d.ptq_of), size,
    )  # fmt: skip


def banding(d: Diagnosis) -> Iterator[Finding]:
    """Contours and bands on flat areas."""
    flat = None if d.output is None else d.output.flat
    if flat is None:
        return
    # Bicubic does not sharpen: against it, an edge more is no grain.
    false_edges = flat.false_edges if d.reference == "fp32" else 0.0
    figure = (
        f"{100 * flat.false_edges:.2g} % false edges, {100 * flat.levels_kept:.0f} % of the levels"
    )
    if false_edges < FALSE_EDGES and flat.levels_kept > LEVELS:
        yield Finding(OK, "banding", "", figure, f"flat areas are as smooth as in {d.reference}")
        return
    bands = flat.levels_kept <= LEVELS
    grave = false_edges >= MANY_FALSE_EDGES
    yield Finding(
        PROBLEM if grave else NOTICE, "banding", "", figure,
        f"flat areas show {'bands' if bands else 'grain'} that {d.reference} does not: steps "
        "inside the network are coarser than a step of the picture",
        "train on the integer grid, or keep the last layers in 16 bits",
        remedies.retrain(d.qat_of), false_edges,
    )  # fmt: skip


def reach(d: Diagnosis) -> Iterator[Finding]:
    """Whether black and white can be said, and are."""
    if d.output is None:
        return
    low, high = d.output.lowest_pixel, d.output.highest_pixel
    if (low, high) != (0, 255):
        yield Finding(
            PROBLEM, "black and white", "", f"{low} to {high}",
            f"the output's codes stop at {low} and {high}: black is grey or white is dull",
            "the output needs scale 1/255 and zero point 0 (uint8)",
            remedies.recalibrate(d.ptq_of), 1.0,
        )  # fmt: skip
        return
    if d.reference != "fp32":
        return
    for value, kept in ((0, d.output.black_kept), (255, d.output.white_kept)):
        if kept is not None and kept < BLACK_WHITE:
            yield Finding(
                NOTICE, "black and white", "", f"{100 * kept:.0f} % of the pixels at {value} kept",
                f"where fp32 says {value}, int8 mostly does not: a tensor before the output stops "
                "short",
                "choose ranges without clipping", remedies.recalibrate(d.ptq_of), 1 - kept,
            )  # fmt: skip
            return
    yield Finding(OK, "black and white", "", "0 to 255", "black and white are reachable")


def drop(d: Diagnosis) -> Iterator[Finding]:
    """dB lost against the ground truth; and the float network itself against bicubic."""
    lost = d.mean("drop")
    if lost is not None:
        severity = PROBLEM if lost > MUCH_DROP else NOTICE if lost > DROP else OK
        fixed = severity != OK
        yield Finding(
            severity, "quality", "", f"{-lost:+.3f} dB vs the ground truth, "
            f"{_number(d.mean('against_float'))} dB vs fp32",
            "int8 loses more than it has to" if fixed else "int8 loses next to nothing",
            "correct, keep few layers in 16 bits, or fine-tune" if fixed else "",
            remedies.retrain(d.qat_of) if fixed else "", abs(lost),
        )  # fmt: skip
    elif (ours := d.mean("int8_truth")) is not None:
        yield Finding(
            OK, "quality", "", f"{_number(ours)} dB vs the ground truth, "
            f"bicubic {_number(d.mean('bicubic_truth'))}",
            "what int8 lost is not known without the float network",
        )  # fmt: skip
    if behind_bicubic(d):
        yield Finding(
            PROBLEM, "network", "",
            f"{_number(d.mean('float_truth') or d.mean('int8_truth'))} dB, "
            f"bicubic {_number(d.mean('bicubic_truth'))}",
            "the network itself does worse than bicubic: its weights are damaged or untrained, or "
            "it expects another value range or degradation",
            "check the checkpoint before quantizing", f"edgesr eval {d.subject}", 1.0,
        )  # fmt: skip


def colours(d: Diagnosis) -> tuple[str, ...]:
    """Names of the output's channels."""
    return ("R", "G", "B") if d.output is not None and len(d.output.tint) == 3 else ("Y",)


def behind_bicubic(d: Diagnosis) -> bool:
    ours = d.mean("float_truth" if d.reference == "fp32" else "int8_truth")
    theirs = d.mean("bicubic_truth")
    return ours is not None and theirs is not None and ours < theirs - BELOW_BICUBIC


def _number(value: float | None) -> str:
    return "-" if value is None else "inf" if math.isinf(value) else f"{value:.2f}"

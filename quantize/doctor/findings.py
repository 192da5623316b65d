"""From figures to sentences: what is wrong, why, and the command that fixes it.

Each rule looks at one thing and answers with its findings, or with one `ok`. `thresholds.py` says
from where on, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from edgesr.quantize.doctor import remedies
from edgesr.quantize.doctor.consistency import consistency
from edgesr.quantize.doctor.diagnosis import Diagnosis, Finding, LayerFigures, Severity
from edgesr.quantize.doctor.runtime import merged
from edgesr.quantize.doctor.thresholds import (
    BELOW_BICUBIC,
    BLACK_WHITE,
    DEAD_SHARE,
    DOMINANT,
    DROP,
    FALSE_EDGES,
    GAIN,
    GROSS_IMBALANCE,
    HARMLESS,
    IMBALANCE,
    LEVELS,
    MANY_FALSE_EDGES,
    MUCH_DROP,
    MUCH_SATURATED,
    MUCH_TINT,
    NEGLIGIBLE,
    PRESCRIBED,
    SATURATED,
    SKIP_RATIO,
    TELLING,
    TINT,
    UNUSED,
)

OK, NOTICE, PROBLEM = Severity.OK, Severity.NOTICE, Severity.PROBLEM

Rule = Callable[[Diagnosis], Iterator[Finding]]


def of_figures(
    diagnosis: Diagnosis, obstacle: str, calibrated_on: Sequence[str]
) -> tuple[Finding, ...]:
    """All findings, worst first; causes (layers) before symptoms of the same severity.

    Args:
        obstacle: why the target's file could not be written; empty if it could.
        calibrated_on: examined images that the ranges were chosen on.
    """
    found = [finding for rule in RULES for finding in rule(diagnosis)]
    if obstacle:
        found.append(_obstacle("", obstacle, diagnosis.subject, diagnosis.target))
    if calibrated_on:
        found.append(Finding(
            NOTICE, "data", "", f"{len(calibrated_on)} images",
            f"{merged(calibrated_on)} served to choose the ranges, so the figures flatter",
            "examine other images", "",
        ))  # fmt: skip
    return tuple(sorted(found, key=_rank, reverse=True))


def of_obstacles(found: Sequence[tuple[str, str]], target: str) -> tuple[Finding, ...]:
    """Layers that keep a network from being int8: (layer, reason)."""
    return tuple(_obstacle(layer, reason, "MODEL", target) for layer, reason in found)


def _obstacle(layer: str, reason: str, model: str, target: str) -> Finding:
    return Finding(
        PROBLEM, "operators", layer, "not int8", reason,
        "export in fp16, or replace the layer and train again",
        remedies.float_export(model, target), 2.0,
    )  # fmt: skip


def _rank(finding: Finding) -> tuple[int, bool, float]:
    return finding.severity, bool(finding.layer), finding.weight


def _hurts(layer: LayerFigures) -> bool:
    """Whether this layer alone is seen in the picture; unknown counts as seen."""
    return layer.impact is None or layer.impact < HARMLESS


def _harms(d: Diagnosis) -> bool:
    known = [image.against_float for image in d.images if image.against_float is not None]
    return any(value < HARMLESS for value in known)


# --- layers ---------------------------------------------------------------------------------


def channel_ranges(d: Diagnosis) -> Iterator[Finding]:
    """One scale for all channels: a loud one leaves the others few codes."""
    share = {layer.name: layer.impact_share for layer in d.layers}
    found = False
    passed_on: dict[str, tuple[int, ...]] = {}
    for layer in d.layers:
        if layer.range_ratio < IMBALANCE:
            continue
        found = True
        inherited = layer.kind != "conv" and passed_on.get(layer.name) == layer.widest
        passed_on |= dict.fromkeys(layer.readers, layer.widest)
        if inherited:  # an activation or a sum hands on what came in: one finding is enough
            continue
        # Its readers suffer from the same cause: their weights for the loud channels are tiny.
        weight = layer.impact_share + sum(share.get(name, 0.0) for name in layer.readers)
        hurts = _harms(d) and weight > TELLING
        severe = hurts or layer.range_ratio >= GROSS_IMBALANCE
        loud = ", ".join(map(str, layer.widest[:4])) + (", ..." if len(layer.widest) > 4 else "")
        yield Finding(
            PROBLEM if severe else NOTICE, "channel ranges", layer.name,
            f"widest channel {layer.range_ratio:.0f} times the median",
            f"{len(layer.widest)} of {layer.channels} channels ({loud}) set the scale of all, and "
            f"{layer.drowned} others are left with fewer than 8 codes",
            *_balance(d), weight,
        )  # fmt: skip
    if d.layers and not found:
        top = max(d.layers, key=lambda layer: layer.range_ratio)
        yield Finding(OK, "channel ranges", "", f"at most {top.range_ratio:.1f} times the median",
                      "channels of every layer have similar ranges")  # fmt: skip


def gains(d: Diagnosis) -> Iterator[Finding]:
    """A whole layer that is scaled up beyond reason."""
    convs = [layer for layer in d.layers if layer.kind == "conv" and layer.gain > 0]
    if len(convs) < 3 or _equalized(d):  # which scales layers up on purpose
        return
    typical = median(layer.gain for layer in convs)
    broken = _behind_bicubic(d)
    for layer in convs:
        if layer.range_ratio < IMBALANCE and layer.gain > GAIN * typical:
            yield Finding(
                PROBLEM if broken else NOTICE, "gain", layer.name,
                f"multiplies its input's range by {layer.gain:.0f}, the median layer by "
                f"{typical:.2g}",
                "its weights are out of proportion; int8 gives it a scale of its own, but 16-bit "
                "floats and accumulators come nearer their limits",
                "scale the layer down and the next one up, or train again with weight decay",
                remedies.equalize(d.subject), 1.0,
            )  # fmt: skip


def _balance(d: Diagnosis) -> tuple[str, str]:
    """Fix and command for channels of unequal range."""
    if _equalized(d):
        fix = "equalization could not reach these channels: keep the layer in 16 bits"
        return fix, remedies.mix(d.subject)
    fix = "equalize: scale the loud channels down and the next layer's weights up, same function"
    return fix, remedies.equalize(d.subject)


def _equalized(d: Diagnosis) -> bool:
    return any(str(step).startswith("equalized") for step in d.calibration.get("steps", ()))


def saturation(d: Diagnosis) -> Iterator[Finding]:
    """Values beyond the codes."""
    found = False
    for layer in d.layers:
        if layer.saturation < SATURATED or layer.kind in PRESCRIBED:
            continue
        found = True
        yield Finding(
            PROBLEM if layer.saturation >= MUCH_SATURATED and _hurts(layer) else NOTICE,
            "saturation", layer.name,
            f"{100 * layer.saturation:.2g} % of the values",
            f"its range ({_span(layer)}) was chosen on photos that do not reach as far as these, "
            "or by an observer that clips",
            "calibrate on photos like those it will see, without clipping",
            remedies.recalibrate(d.subject), layer.impact_share,
        )  # fmt: skip
    if d.layers and not found:
        top = max(layer.saturation for layer in d.layers if layer.kind not in PRESCRIBED)
        yield Finding(OK, "saturation", "", f"at most {100 * top:.2g} % of a tensor",
                      "the ranges hold what these images need")  # fmt: skip


def unused_codes(d: Diagnosis) -> Iterator[Finding]:
    """A range far wider than the values."""
    for layer in d.layers:
        matters = _hurts(layer) or layer.impact_share > NEGLIGIBLE
        if layer.codes_used < UNUSED and layer.kind not in PRESCRIBED and matters:
            yield Finding(
                PROBLEM if _hurts(layer) else NOTICE, "unused codes", layer.name,
                f"{100 * layer.codes_used:.0f} % of the codes occur",
                f"its range ({_span(layer)}) is wider than its values: an outlier among the "
                "calibration photos, or a scale it shares",
                "choose the range by error rather than by extremes",
                remedies.recalibrate(d.subject, "mse"), layer.impact_share,
            )  # fmt: skip


def dead_channels(d: Diagnosis) -> Iterator[Finding]:
    """Channels that are constant: computed for nothing."""
    for layer in d.layers:
        if layer.dead > DEAD_SHARE * layer.channels:
            yield Finding(
                NOTICE, "dead channels", layer.name, f"{layer.dead} of {layer.channels} channels",
                "they are constant on every image, in float already: time without effect",
                "a narrower network does the same; or train from another seed", "",
            )  # fmt: skip


def skips(d: Diagnosis) -> Iterator[Finding]:
    """Operands of an addition that are of very different size."""
    for layer in d.layers:
        if layer.skip_ratio is not None and layer.skip_ratio > SKIP_RATIO:
            yield Finding(
                PROBLEM if _hurts(layer) else NOTICE, "skip scales", layer.name,
                f"operand scales differ by a factor of {layer.skip_ratio:.0f}",
                f"of {merged(layer.skip_operands)} the smaller is lost in the steps of the larger",
                "keep this sum in 16 bits, or train on the integer grid",
                remedies.mix(d.subject), layer.impact_share,
            )  # fmt: skip


def dominant_layer(d: Diagnosis) -> Iterator[Finding]:
    """One layer makes most of the error, for none of the reasons above."""
    if not _harms(d):
        return
    loud = {name for layer in d.layers if layer.range_ratio >= IMBALANCE
            for name in (layer.name, *layer.readers)}  # fmt: skip
    for layer in d.layers:
        explained = layer.name in loud or layer.saturation >= SATURATED or layer.codes_used < UNUSED
        if layer.impact_share > DOMINANT and layer.impact is not None and not explained:
            yield Finding(
                NOTICE, "sensitive layer", layer.name,
                f"{100 * layer.impact_share:.0f} % of the output's error, "
                f"{layer.impact:.1f} dB alone",
                "the picture depends on this layer more than 8 bits can tell",
                "keep it in 16 bits, or train on the integer grid", remedies.mix(d.subject),
                layer.impact_share,
            )  # fmt: skip


# --- the picture ----------------------------------------------------------------------------


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
        "correct the biases by the mean error", remedies.correct(d.subject), size,
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
        remedies.retrain(d.subject), false_edges,
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
            remedies.recalibrate(d.subject), 1.0,
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
                "choose ranges without clipping", remedies.recalibrate(d.subject), 1 - kept,
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
            remedies.retrain(d.subject) if fixed else "", abs(lost),
        )  # fmt: skip
    elif (ours := d.mean("int8_truth")) is not None:
        yield Finding(
            OK, "quality", "", f"{_number(ours)} dB vs the ground truth, "
            f"bicubic {_number(d.mean('bicubic_truth'))}",
            "what int8 lost is not known without the float network",
        )  # fmt: skip
    if _behind_bicubic(d):
        yield Finding(
            PROBLEM, "network", "",
            f"{_number(d.mean('float_truth') or d.mean('int8_truth'))} dB, "
            f"bicubic {_number(d.mean('bicubic_truth'))}",
            "the network itself does worse than bicubic: its weights are damaged or untrained, or "
            "it expects another value range or degradation",
            "check the checkpoint before quantizing", f"edgesr eval {d.subject}", 1.0,
        )  # fmt: skip


# --- the target -----------------------------------------------------------------------------


def inexact(d: Diagnosis) -> Iterator[Finding]:
    """Operators that runtimes round differently, and what the file did here."""
    run = d.runtime
    if run is None:
        return
    where = run.inexact if d.target != "tflite" else {
        kind: names for kind, names in run.inexact.items() if kind == "mul"
    }  # fmt: skip
    for kind, names in where.items():
        cause = f"`{kind}` is rounded differently by {d.target} and the integer reference"
        if d.target == "tflite":
            cause = "XNNPACK multiplies in float on x86 and in fixed point on arm64: 1 code apart"
        yield Finding(
            NOTICE, "exactness", merged(names, 2).replace("`", ""), f"{len(names)} layers", cause,
            "nothing to do unless the devices' pictures must be equal", "",
        )  # fmt: skip
    if run.identical is None or run.max_difference is None:
        return
    figure = f"{100 * run.identical:.4g} % of the pixels, at most {run.max_difference:g} codes off"
    beyond = run.max_difference > run.expected
    yield Finding(
        PROBLEM if beyond else OK, "runtime", "", figure,
        f"{run.runtime} {'does not compute' if beyond else 'computes'} what the integer reference "
        f"does (allowed: {run.expected:g})",
        "report this file: a kernel of the runtime differs" if beyond else "", "", 1.0,
    )  # fmt: skip
    if run.one_partition is False:
        yield Finding(
            NOTICE, "delegation", "", "split graph",
            "XNNPACK does not take the whole graph; tensors go back and forth between kernels",
            "look at the operators in the report for the one it leaves", "",
        )  # fmt: skip


RULES: tuple[Rule, ...] = (
    channel_ranges, gains, saturation, unused_codes, dead_channels, skips, dominant_layer,
    tint, banding, reach, consistency, drop, inexact,
)  # fmt: skip


def colours(d: Diagnosis) -> tuple[str, ...]:
    """Names of the output's channels."""
    return ("R", "G", "B") if d.output is not None and len(d.output.tint) == 3 else ("Y",)


def _behind_bicubic(d: Diagnosis) -> bool:
    ours = d.mean("float_truth" if d.reference == "fp32" else "int8_truth")
    theirs = d.mean("bicubic_truth")
    return ours is not None and theirs is not None and ours < theirs - BELOW_BICUBIC


def _span(layer: LayerFigures) -> str:
    return f"{layer.histogram.range_low:.3g} to {layer.histogram.range_high:.3g}"


def _number(value: float | None) -> str:
    return "-" if value is None else "inf" if math.isinf(value) else f"{value:.2f}"

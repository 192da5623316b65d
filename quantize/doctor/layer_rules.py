"""Rules about single layers: ranges, codes, channels, skips, and which layer hurts."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from edgesr.quantize.doctor import remedies
from edgesr.quantize.doctor.diagnosis import Diagnosis, Finding, LayerFigures, Severity
from edgesr.quantize.doctor.picture_rules import behind_bicubic
from edgesr.quantize.doctor.runtime import merged
from edgesr.quantize.doctor.thresholds import (
    DEAD_SHARE,
    DOMINANT,
    GAIN,
    GROSS_IMBALANCE,
    HARMLESS,
    IMBALANCE,
    MUCH_SATURATED,
    NEGLIGIBLE,
    PRESCRIBED,
    SATURATED,
    SKIP_RATIO,
    TELLING,
    UNUSED,
)

OK, NOTICE, PROBLEM = Severity.OK, Severity.NOTICE, Severity.PROBLEM


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
    broken = behind_bicubic(d)
    for layer in convs:
        if layer.range_ratio < IMBALANCE and layer.gain > GAIN * typical:
            yield Finding(
                PROBLEM if broken else NOTICE, "gain", layer.name,
                f"multiplies its input's range by {layer.gain:.0f}, the median layer by "
                f"{typical:.2g}",
                "its weights are out of proportion; int8 gives it a scale of its own, but 16-bit "
                "floats and accumulators come nearer their limits",
                "scale the layer down and the next one up, or train again with weight decay",
                remedies.equalize(d.ptq_of), 1.0,
            )  # fmt: skip


def _balance(d: Diagnosis) -> tuple[str, str]:
    """Fix and command for channels of unequal range."""
    if _equalized(d):
        fix = "equalization could not reach these channels: keep the layer in 16 bits"
        return fix, remedies.mix(d.ptq_of)
    fix = "equalize: scale the loud channels down and the next layer's weights up, same function"
    return fix, remedies.equalize(d.ptq_of)


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
            remedies.recalibrate(d.ptq_of), layer.impact_share,
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
                remedies.recalibrate(d.ptq_of, "mse"), layer.impact_share,
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
                remedies.mix(d.ptq_of), layer.impact_share,
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
                "keep it in 16 bits, or train on the integer grid", remedies.mix(d.ptq_of),
                layer.impact_share,
            )  # fmt: skip


def _hurts(layer: LayerFigures) -> bool:
    """Whether this layer alone is seen in the picture; unknown counts as seen."""
    return layer.impact is None or layer.impact < HARMLESS


def _harms(d: Diagnosis) -> bool:
    known = [image.against_float for image in d.images if image.against_float is not None]
    return any(value < HARMLESS for value in known)


def _span(layer: LayerFigures) -> str:
    return f"{layer.histogram.range_low:.3g} to {layer.histogram.range_high:.3g}"

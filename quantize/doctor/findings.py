"""From figures to sentences: what is wrong, why, and the command that fixes it.

Each rule (`layer_rules.py`, `picture_rules.py`, `consistency.py`, `target_rules.py`) looks at one
thing and answers with its findings, or with one `ok`. `thresholds.py` says from where on, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgesr.quantize.doctor import layer_rules, picture_rules, remedies
from edgesr.quantize.doctor.consistency import consistency
from edgesr.quantize.doctor.diagnosis import Diagnosis, Finding, Severity
from edgesr.quantize.doctor.runtime import merged
from edgesr.quantize.doctor.target_rules import inexact

Rule = Callable[[Diagnosis], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    layer_rules.channel_ranges, layer_rules.gains, layer_rules.saturation,
    layer_rules.unused_codes, layer_rules.dead_channels, layer_rules.skips,
    layer_rules.dominant_layer, picture_rules.tint, picture_rules.banding, picture_rules.reach,
    consistency, picture_rules.drop, inexact,
)  # fmt: skip


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
            Severity.NOTICE, "data", "", f"{len(calibrated_on)} images",
            f"{merged(calibrated_on)} served to choose the ranges, so the figures flatter",
            "examine other images", "",
        ))  # fmt: skip
    return tuple(sorted(found, key=_rank, reverse=True))


def of_obstacles(found: Sequence[tuple[str, str]], target: str) -> tuple[Finding, ...]:
    """Layers that keep a network from being int8: (layer, reason)."""
    return tuple(_obstacle(layer, reason, "MODEL", target) for layer, reason in found)


def _obstacle(layer: str, reason: str, model: str, target: str) -> Finding:
    return Finding(
        Severity.PROBLEM, "operators", layer, "not int8", reason,
        "export in fp16, or replace the layer and train again",
        remedies.float_export(model, target), 2.0,
    )  # fmt: skip


def _rank(finding: Finding) -> tuple[int, bool, float]:
    return finding.severity, bool(finding.layer), finding.weight

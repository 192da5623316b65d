"""The training curve of `edgesr.benchmarks.meta_curve` as SVG."""

from __future__ import annotations

from typing import Any

from edgesr.benchmarks.report.axes import fit, labels
from edgesr.benchmarks.report.svg import Sheet
from edgesr.benchmarks.report.theme import standalone

WIDTH, HEIGHT = 640, 320
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 34, 490, 280
_LABEL = 14
"""Height of one."""
KERNELS = {"iso": "isotropic", "ani": "anisotropic"}
STEPS = {"0": "as trained", "10": "10 steps"}
"""What is drawn: dashed without a step on the photo, solid after ten."""


def draw(rows: list[dict[str, Any]]) -> str:
    """dB against training steps, meta-transfer after the start.

    Args:
        rows: with `phase`, `step`, `kernel`, `steps` and `psnr_y`.
    """
    before = max((row["step"] for row in rows if row["phase"] == "start"), default=0)
    shown = [
        (
            row["kernel"],
            row["steps"],
            row["step"] + before * (row["phase"] == "meta"),
            row["psnr_y"],
        )
        for row in rows
        if row["kernel"] in KERNELS and row["steps"] in STEPS
    ]
    sheet = Sheet(WIDTH, HEIGHT, "PSNR on held-out photos against training steps")
    across = fit([place for _, _, place, _ in shown], _LEFT, _RIGHT, log=False, pad=0.02)
    up = fit([value for *_, value in shown], _BOTTOM, _TOP, log=False)
    ticks = up.ticks()
    for tick, label in zip(ticks, labels(ticks, log=False), strict=True):
        sheet.line((_LEFT, up(tick)), (_RIGHT, up(tick)), "grid")
        sheet.text((_LEFT - 6, up(tick) + 4), label, "tick", "end")
    ticks = [tick for tick in across.ticks() if tick >= 0]
    for tick, label in zip(ticks, labels(ticks, log=False), strict=True):
        sheet.text((across(tick), _BOTTOM + 16), label, "tick", "middle")
    sheet.line((_LEFT, _BOTTOM), (_RIGHT, _BOTTOM), "frame")
    sheet.text(((_LEFT + _RIGHT) / 2, HEIGHT - 6), "training steps", "axis", "middle")
    sheet.text((_LEFT - 40, 16), "Y-PSNR, dB, held-out photos", "axis")
    if any(row["phase"] == "meta" for row in rows) and before:
        sheet.line((across(before), _TOP), (across(before), _BOTTOM), "roof copy")
        right = across(before) < (_LEFT + _RIGHT) / 2
        place = (across(before) + (6 if right else -6), _TOP + 8)
        sheet.text(place, "meta-transfer from here", "axis", "start" if right else "end")
    ends: list[tuple[float, str]] = []
    for colour, (kernel, name) in enumerate(KERNELS.items()):
        for steps, words in STEPS.items():
            course = sorted((place, value) for k, s, place, value in shown
                            if (k, s) == (kernel, steps))  # fmt: skip
            if not course:
                continue
            points = [(across(place), up(value)) for place, value in course]
            sheet.path(points, f"front s{colour}" + (" estimate" if steps == "0" else ""))
            for point, (place, value) in zip(points, course, strict=True):
                tip = f"{name}, {words}: {value:.2f} dB after {place} training steps"
                sheet.circle(point, 2.5, f"dot f{colour}", tip)
            ends.append((points[-1][1], f"{name}, {words}"))
    free = 0.0
    for height, label in sorted(ends):  # from the top, so that labels keep the curves' order
        sheet.text((_RIGHT + 8, max(height, free) + 4), label, "value")
        free = max(height, free) + _LABEL
    return standalone(sheet.to_svg())

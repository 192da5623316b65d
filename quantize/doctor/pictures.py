"""Pictures and charts that live inside the page: data URIs and inline SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
from edgesr.quantize.doctor.diagnosis import Histogram, LayerFigures
from PIL import Image as Pillow

from edgesr.data.images import Image

GAIN = 8
"""Of difference pictures: one step of 255 becomes visible."""
CEILING = 60.0
"""dB at which a bar is full: rounding to 8 bits alone."""
_ROW, _BAR = 46, 9


def data_uri(picture: Image) -> str:
    """A lossless WebP of uint8 HxWx3 or HxWx1, for `<img src>`."""
    flat = picture[..., 0] if picture.shape[2] == 1 else picture
    stored = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(flat)).save(stored, "WEBP", lossless=True, quality=60)
    return "data:image/webp;base64," + base64.b64encode(stored.getvalue()).decode()


def difference(a: Image, b: Image, gain: int = GAIN) -> Image:
    """`gain * |a - b|`, clipped to 255."""
    amplified = np.abs(a.astype(np.int16) - b.astype(np.int16)) * gain
    clipped: Image = np.clip(amplified, 0, 255).astype(np.uint8)
    return clipped


def sqnr_chart(layers: Sequence[LayerFigures]) -> str:
    """Two bars per layer: alone and accumulated. Lengths in percent, text in pixels: the chart
    fits a phone and a desk without shrinking its letters."""
    rows = []
    for number, layer in enumerate(layers):
        top = number * _ROW
        rows.append(f'<text x="0" y="{top + 13}" class="name">{escape(layer.name)}</text>')
        bars = (("alone", layer.sqnr_alone), ("accumulated", layer.sqnr_accumulated))
        for line, (kind, value) in enumerate(bars):
            y = top + 18 + line * (_BAR + 3)
            share = 84 * min(max(value, 0.0), CEILING) / CEILING
            rows.append(
                f'<rect x="0" y="{y}" width="84%" height="{_BAR}" class="track"/>'
                f'<rect x="0" y="{y}" width="{share:.1f}%" height="{_BAR}" class="{kind}"/>'
                f'<text x="100%" y="{y + _BAR}" class="value">{decibels(value)}</text>'
            )
    height = len(layers) * _ROW
    return (
        f'<svg width="100%" height="{height}" role="img" '
        f'aria-label="SQNR of {len(layers)} layers">{"".join(rows)}</svg>'
    )


def histogram_chart(histogram: Histogram) -> str:
    """Values of a tensor, root-scaled; what lies outside the codes' range is marked."""
    count = len(histogram.counts)
    if not count:
        return ""
    heights = np.sqrt(np.array(histogram.counts, np.float64))
    heights = 40 * heights / max(float(heights.max()), 1.0)
    width = histogram.high - histogram.low
    left, right = (
        100 * (bound - histogram.low) / width
        for bound in (histogram.range_low, histogram.range_high)
    )
    bars = []
    for index, height in enumerate(heights):
        if height <= 0:
            continue
        x, step = 100 * index / count, 100 / count
        inside = left - step / 2 <= x + step / 2 <= right + step / 2
        kind = "inside" if inside else "outside"
        bars.append(
            f'<rect x="{x:.2f}" y="{44 - height:.2f}" width="{step:.2f}" '
            f'height="{height:.2f}" class="{kind}"/>'
        )
    return (
        '<svg viewBox="0 0 100 44" preserveAspectRatio="none" class="histogram" role="img" '
        'aria-label="histogram">'
        f'<rect x="{left:.2f}" y="0" width="{right - left:.2f}" height="44" class="range"/>'
        f"{''.join(bars)}</svg>"
    )


def decibels(value: float | None) -> str:
    """`34.1`, `exact` for infinity, `-` for None."""
    if value is None:
        return "-"
    return "exact" if value == float("inf") else f"{value:.1f}"

"""The drawn calibration sample: print, lines and pure colours, as in slides, games and subtitles.

Photos seldom go from black to white within a pixel. Ranges chosen on photos alone clip where a
drawing does, and a network that loses 0.1 dB on photos loses 0.8 on a slide. Drawn four times as
large and reduced, so that edges are as sharp as those of a camera; made again by
`python -m edgesr.data.chart`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from edgesr.data.bicubic import imresize
from edgesr.data.datasets import SAMPLES
from edgesr.data.images import Image

SIDE = 240
_LARGER = 4
_PANELS = (
    ("#f8f8f8", "#101010", (0, 0)),
    ("#20407f", "#f4e3a1", (1, 0)),
    ("#141414", "#ececec", (0, 1)),
    ("#a8322a", "#f2f2f2", (1, 1)),
)
_WORDS = "Slides, games\nand subtitles:\nAaBbGgRr 0123\n(+-*/) [{!?}]"


def draw() -> Image:
    """The chart, uint8 `SIDE` x `SIDE` x 3."""
    half = SIDE * _LARGER // 2
    chart = Pillow.new("RGB", (2 * half, 2 * half))
    pen = ImageDraw.Draw(chart)
    for ground, ink, (column, row) in _PANELS:
        left, top = column * half, row * half
        pen.rectangle((left, top, left + half - 1, top + half - 1), fill=ground)
        pen.multiline_text(
            (left + 20, top + 12), _WORDS, fill=ink, font=ImageFont.load_default(52), spacing=8
        )
        for number in range(10):
            x, width = left + 20 + number * 44, 4 * (number % 4 + 1)
            pen.line((x, top + 290, x + 30 * (number % 3), top + half - 12), fill=ink, width=width)
    return imresize(np.array(chart), 1 / _LARGER)


def main() -> None:
    """Write the sample."""
    Pillow.fromarray(draw()).save(SAMPLES / "calibration" / "chart.webp", lossless=True)


if __name__ == "__main__":
    main()

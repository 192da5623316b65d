"""The doctor's look back: the figure is the one of `edgesr eval`, and a cast is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from edgesr.quantize.doctor.consistency import BackTally, consistency
from edgesr.quantize.doctor.diagnosis import Diagnosis, ImageFigures, Severity
from edgesr.quantize.doctor.output import ImageTally
from edgesr.quantize.doctor.windows import Sample, Window
from small_networks import photo

from edgesr.data.bicubic import imresize
from edgesr.metrics.consistency import lr_consistency
from edgesr.runtime.tiles import Span


def tinted(pixels, steps):
    return (pixels.astype(int) + steps).clip(0, 255).astype(np.uint8)


def test_it_is_the_figure_of_eval():
    lr = photo(24, 30)
    sr, cast = imresize(lr, 3), tinted(imresize(lr, 3), 6)
    window = Window(Span(0, 24, 0, 24), Span(0, 30, 0, 30))
    tally = ImageTally(Sample("photo", lr), 3, False, 1)
    tally.include(window, cast, sr.astype(np.float32))
    figures = tally.figures()
    assert figures.int8_back == pytest.approx(lr_consistency(cast, lr), abs=1e-9)
    assert figures.reference_back == pytest.approx(lr_consistency(sr, lr), abs=1e-9)
    assert figures.int8_back < figures.reference_back


def test_a_part_of_the_picture_is_compared_with_its_part_of_the_input():
    lr = photo(24, 30)
    sr = imresize(lr, 2)
    tally = ImageTally(Sample("photo", lr), 2, False, 1)
    tally.include(
        Window(Span(6, 24, 8, 20), Span(4, 30, 10, 26)), sr[16:40, 20:52], sr[16:40, 20:52]
    )
    inner = tally.back.pixels
    assert inner == 8 * 12
    assert tally.figures().int8_back > lr_consistency(np.roll(sr, 2, axis=1), lr) + 3


def test_pieces_too_small_say_nothing():
    tally = BackTally()
    tally.include(photo(4, 30), photo(8, 60), photo(8, 60))
    assert tally.figures() is None


def found(int8, reference):
    image = ImageFigures("photo", 9, 9, 1, 1, None, None, None, None, int8, reference)
    return list(consistency(Diagnosis("NET", "net", "tflite", "photos", (), images=(image,))))


@pytest.mark.parametrize(
    ("int8", "reference", "severity", "cause"),
    [
        (55.0, 56.0, Severity.OK, "is its input"),
        (35.0, 56.0, Severity.NOTICE, "int8's picture is not its input"),
        (35.0, 36.0, Severity.NOTICE, "the network itself"),
    ],
)
def test_who_is_to_blame(int8, reference, severity, cause):
    (finding,) = found(int8, reference)
    assert finding.severity == severity and cause in finding.cause
    assert f"{int8:.1f} dB, fp32 {reference:.1f}" in finding.figure
    assert found(None, None) == []

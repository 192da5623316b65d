"""The page stands alone, and a stranger's layer names cannot write HTML."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from edgesr.quantize.doctor.pictures import data_uri, difference, histogram_chart, sqnr_chart
from edgesr.quantize.doctor.report import render, write
from PIL import Image as Pillow
from sick_networks import FIRST, look, sample, scaled


@pytest.fixture(scope="module")
def sick():
    return look(scaled(100, slice(3, 5), compensated=True))


@pytest.fixture(scope="module")
def page(sick):
    return render(sick)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert reader.addresses and all(a.startswith("data:image/webp") for a in reader.addresses)
    assert "script" not in reader.tags and "url(" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_findings_stand_with_their_commands(sick, page):
    first = sick.findings[0]
    assert page.index(FIRST) < page.index("Worst places")
    assert first.command in page and "needs treatment" in page
    assert page.count("<figure>") == 4 * len(sick.crops)


def test_names_are_escaped(sick):
    evil = '<img src="x">&"'
    layers = (replace(sick.layers[0], name=evil), *sick.layers[1:])
    finding = replace(sick.findings[0], layer=evil, cause=evil)
    page = render(replace(sick, layers=layers, findings=(finding,), network=evil, subject=evil))
    assert evil not in page and "&lt;img" in page


def test_an_empty_diagnosis_renders(sick):
    page = render(replace(sick, layers=(), images=(), crops=(), output=None, runtime=None,
                          findings=(), notes=("nothing",)))  # fmt: skip
    assert "Nothing to treat" in page and "nothing" in page


def test_luma_and_truthless_pages_render():
    page = render(look(scaled(100, slice(3, 5), compensated=True), replace(sample(), hr=None)))
    assert "ground truth</figcaption>" not in page


def test_pictures_are_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    stored = base64.b64decode(data_uri(pixels).partition(",")[2])
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(stored))), pixels)
    assert difference(pixels, pixels).max() == 0
    assert difference(np.array([[[10]]], np.uint8), np.array([[[15]]], np.uint8)).item() == 40


def test_bars_are_as_long_as_their_decibels(sick):
    chart = sqnr_chart([replace(sick.layers[0], sqnr_alone=30.0, sqnr_accumulated=-3.0)])
    widths = re.findall(r'width="([\d.]+)%" height="9" class="(alone|accumulated)"', chart)
    assert widths == [("42.0", "alone"), ("0.0", "accumulated")]


def test_histograms_mark_what_saturates(sick):
    chart = histogram_chart(sick.worst_layers(1)[0].histogram)
    assert 'class="range"' in chart and 'class="inside"' in chart


def test_writing_replaces_whole_files_only(sick, tmp_path):
    path = tmp_path / "report.html"
    write(sick, path)
    assert path.read_text().endswith("</html>") and list(tmp_path.iterdir()) == [path]

"""MZSR's training curve: trained in two phases, measured, gone on with, drawn."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from edgesr.benchmarks import meta_curve
from edgesr.benchmarks.meta_plot import draw

from edgesr.data.bicubic import imresize
from edgesr.data.images import ImageFile, write_image


@pytest.fixture(autouse=True)
def small(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(meta_curve, "PATCH", {"start": 16, "meta": 16})
    monkeypatch.setattr(meta_curve, "SIDE", 40)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in "ab":
        pixels = imresize(rng.integers(0, 256, (12, 13, 3), np.uint8), 4)
        write_image(ImageFile(pixels), tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def call(monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "argv", ["meta_curve", *map(str, options)])
    return meta_curve.main(), capsys.readouterr()


def test_both_phases_and_their_curve(photos, tmp_path, monkeypatch, capsys):
    out, plot = tmp_path / "curve.json", tmp_path / "curve.svg"
    common = ("--work", tmp_path, "--held-out", photos, "--images", 1, "--out", out, "--plot", plot)
    code, said = call(monkeypatch, capsys, "--data", photos, "--start", 2, "--meta", 1, *common)
    assert code == 0, said.err
    document = json.loads(out.read_text())
    assert document["held_out"] == ["a"] and document["side"] == 40
    places = [(row["phase"], row["step"]) for row in document["rows"]]
    assert sorted(set(places), key=places.index) == [("start", 1), ("start", 2), ("meta", 1)]
    assert len(places) == 3 * 10  # two kernels; bicubic, 0, 1, 5, 10 steps
    assert "as trained" in plot.read_text() and "meta-transfer from here" in plot.read_text()

    # Nothing is measured twice.
    monkeypatch.setattr(meta_curve, "gains", None)
    assert call(monkeypatch, capsys, *common)[0] == 0
    assert json.loads(out.read_text())["rows"] == document["rows"]


def test_a_folder_without_weights_and_a_strange_file(photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "curve.json"
    options = ("--work", tmp_path, "--held-out", photos, "--images", 1, "--out", out)
    code, said = call(monkeypatch, capsys, *options)
    assert code and "train with --start" in said.err
    out.write_text("{}")
    code, said = call(monkeypatch, capsys, *options)
    assert code and "is no training curve" in said.err


def test_milestones():
    assert sorted(meta_curve.milestones(60)) == [1, 2, 5, 10, 20, 50, 60]
    assert meta_curve.milestones(1) == {1}


ROWS = [
    {"phase": "start", "step": step, "kernel": kernel, "steps": steps, "psnr_y": value + at}
    for kernel, value in (("iso", 30.0), ("ani", 28.0))
    for steps in ("0", "10")
    for step, at in ((100, 0.0), (200, 0.3), (400, 0.6))
]


def test_what_a_doubling_brought():
    assert meta_curve.slopes(ROWS)["start iso 10"] == pytest.approx(0.3)
    assert meta_curve.slopes(ROWS[:2]) == {}


def test_more_decibels_are_drawn_higher():
    svg = draw(ROWS)
    tips = re.findall(r'cy="([\d.]+)"[^>]*><title>isotropic, 10 steps: ([\d.]+)', svg)
    heights = [float(height) for height, _ in tips]
    assert len(tips) == 3 and heights == sorted(heights, reverse=True)
    assert svg.count("estimate") >= 2  # dashed: without a step


def test_labels_keep_the_order_of_the_curves():
    """Those that end close together, too, whichever is drawn first."""
    rows = [
        {"phase": "start", "step": step, "kernel": "iso", "steps": steps, "psnr_y": value}
        for steps, last in (("0", 27.38), ("10", 27.45))
        for step, value in ((1, 24.0), (1000, last))
    ]
    found = re.findall(r'<text x="498" y="([\d.]+)" class="value">([^<]*)', draw(rows))
    assert [label for _, label in found] == ["isotropic, 10 steps", "isotropic, as trained"]
    assert float(found[1][0]) - float(found[0][0]) >= 14

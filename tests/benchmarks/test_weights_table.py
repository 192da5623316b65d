"""The table of shipped weights: every figure is measured, kept while it holds, told as it is."""

import json

import pytest
import torch
from edgesr.benchmarks import candidates, weights
from edgesr.benchmarks.quantization import Options
from edgesr.benchmarks.weights import cost, names, run, with_times
from edgesr.benchmarks.weights_table import page_table, readme_table

from edgesr.data.datasets import Dataset
from edgesr.data.images import ImageFile, write_image

NAME = "quicksrnet-small-x2"
LATENCY = {
    "ms": 12.34, "runtime": "r", "threads": 1, "machine": "m", "instructions": ["i8"],
    "warnings": [],
}  # fmt: skip


@pytest.fixture
def data(tmp_path, scene):
    torch.set_num_threads(1)
    write_image(ImageFile(scene), tmp_path / "scene.png")
    return Dataset("tiny", (tmp_path / "scene.png",))


@pytest.fixture
def options(scene, tmp_path):
    return Options(litert=1, calibration=[scene, scene[::-1]], keep=tmp_path / "keep")


def test_every_shipped_network_is_a_row_or_named():
    assert set(names()) | set(weights.ELSEWHERE) >= set(weights.shipped_names())
    scales = [int(name[-1]) for name in names()]
    assert scales == sorted(scales)
    for name in names():
        assert cost(name)["macs"] > 0
    assert cost("plain-m-x3")["parameters"] == 45_691
    assert (cost("plain-m-x2")["height"], cost("plain-m-x2")["width"]) == (360, 640)


def test_a_row_is_measured_once(data, options, tmp_path, monkeypatch):
    out = tmp_path / "weights.json"
    document = run([NAME], [data], out, options)
    assert json.loads(out.read_text())["rows"] == document["rows"]
    (row,) = document["rows"]
    cells = row["sets"]["tiny"]
    assert (row["network"], row["parameters"]) == (NAME, 22_860)
    assert cells["ptq"]["litert"]["images"] == 1 and cells["ptq"]["litert"]["different"] == 0
    monkeypatch.setattr(candidates, "quantize", lambda *_: pytest.fail("measured again"))
    options.keep.rename(tmp_path / "gone")
    assert run([NAME], [data], out, options)["rows"] == document["rows"]
    # Times are put beside, and survive the next measurement of quality.
    timed = with_times({NAME: LATENCY}, out)
    assert timed["rows"][0]["sets"]["tiny"] == cells
    again = run([NAME], [data], out, options)
    assert again["rows"][0]["latencies"] == {"m": LATENCY}
    other = LATENCY | {"machine": "other", "ms": 5.0}
    both = with_times({NAME: other}, tmp_path / "weights.json")
    assert both["rows"][0]["latencies"] == {"m": LATENCY, "other": other}
    text = page_table(again)
    assert f"| {NAME} | 22,860 | 5.24 | {cells['fp32']['mean']:.2f} | " in text
    assert "| 12.3 |" in text and "ms: int8, r, 1 thread(s), m, i8." in text
    assert "on 1 images: equal in every value" in text


def test_figures_of_other_weights_are_dropped(data, options, tmp_path):
    """A set that is not asked for again must not stand beside those of newer weights."""
    out = tmp_path / "weights.json"
    before = run([NAME], [data], out, options)
    row = before["rows"][0]
    row["sets"] |= {
        "same": row["sets"]["tiny"],
        "older": {"fp32": {"mean": 1.0}, "ptq": row["sets"]["tiny"]["ptq"] | {"made_from": "x"}},
    }
    out.write_text(json.dumps(before))
    after = run([NAME], [data], out, options)["rows"][0]["sets"]
    assert set(after) == {"tiny", "same"}


def test_figures_of_integers_that_are_gone_are_dropped(data, options, tmp_path):
    out = tmp_path / "weights.json"
    before = run([NAME], [data], out, options)
    cells = before["rows"][0]["sets"]["tiny"]
    cells["qat"] = cells["ptq"]
    out.write_text(json.dumps(before))
    after = run([NAME], [data], out, options)["rows"][0]["sets"]["tiny"]
    assert sorted(after) == sorted(cells.keys() - {"qat"})


def cell(value, different=0):
    check = {"images": 2, "values": 9, "different": different, "largest": 1}
    return {"mean": value, "litert": check, "date": "2026-01-02T00:00"}


def document(**more):
    row = {
        "network": "n", "parameters": 1234, "macs": 5_670_000_000,
        "sets": {"set5": {"fp32": {"mean": 33.0}, "ptq": cell(32.9), **more}},
    }  # fmt: skip
    return {
        "rows": [row], "protocol": "P", "calibration_images": 3, "machine": {"packages": {}},
        "files": 2, "megabytes": 1.5, "elsewhere": {"a": "a.md"},
    }  # fmt: skip


def test_the_short_table_takes_the_better_int8():
    assert "| n | 1,234 | 5.67 | 33.00 / 32.90 |  |" in readme_table(document())
    assert "| 33.00 / 32.95 |" in readme_table(document(qat=cell(32.95)))
    assert "| 33.00 / 32.90 |" in readme_table(document(qat=cell(32.85)))


def test_what_is_missing_or_different_is_said():
    text = page_table(document())
    assert "| 33.00 | 32.90 |  |  |" in text and "ms: not taken yet" in text
    assert "Not here: a, see [its page](a.md)." in text and "2 files, 1.5 MB." in text
    assert "on 4 images: but for 7 values" in page_table(document(qat=cell(32.9, different=7)))
    busy = document()
    warning = "other processes kept 1.0 of 2 cores busy during the run"
    busy["rows"][0]["latencies"] = {"m": LATENCY | {"warnings": [warning]}}
    assert "(which was busy)" in page_table(busy) and "(which was busy)" in readme_table(busy)


def test_every_machine_has_a_column():
    two = document()
    first, second = two["rows"][0], document()["rows"][0]
    two["rows"].append(second | {"network": "second"})
    first["latencies"] = {
        "old": LATENCY | {"machine": "old", "ms": 1.0},
        "new": LATENCY | {"machine": "new", "ms": 2.0},
    }
    two["rows"][1]["latencies"] = {"new": LATENCY | {"machine": "new", "ms": 3.0}}
    for text in (page_table(two), readme_table(two)):
        assert "ms A | " in text and "ms B |\n" in text
        assert "| 2.0 | 1.0 |" in text and "| 3.0 |  |" in text
        assert "ms A: int8, r, 1 thread(s), new, i8; ms B: int8, r, 1 thread(s), old, i8." in text


def test_times_are_taken_in_turns(monkeypatch):
    monkeypatch.setattr(
        weights, "cost", lambda name: {"height": 24, "width": 32, "parameters": 1, "macs": 1}
    )
    torch.set_num_threads(1)
    found = weights.times(["plain-m-x2", NAME], runs=3, threads=1)
    assert set(found) == {"plain-m-x2", NAME}
    assert all(row["ms"] > 0 and row["runtime"].startswith("litert") for row in found.values())


def test_the_command(tmp_path, capsys, data, monkeypatch):
    out = str(tmp_path / "w.json")
    assert weights.main(["--rows", "nonesuch", "--sets", "samples", "--out", out]) == 2
    assert "plain-m-x3" in capsys.readouterr().err
    (tmp_path / "w.json").write_text(json.dumps({"version": weights.VERSION, **document()}))
    page = tmp_path / "page.md"
    page.write_text("<!-- begin weights -->\n<!-- end weights -->\n")
    command = ["--markdown", "--out", out, "--page", str(page), "--readme", str(page)]
    assert weights.main(command) == 0
    assert "33.00 / 32.90" in page.read_text() and "| 33.00 | 32.90 |" in capsys.readouterr().out


def test_times_alone_measure_no_quality(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "run", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(weights, "times", lambda rows, **_: dict.fromkeys(rows, LATENCY))
    out = tmp_path / "w.json"
    assert weights.main(["--bench", "--sets", "--rows", NAME, "--out", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["latencies"] == {"m": LATENCY} and row["sets"] == {} and row["parameters"] == 22_860


def test_integers_beside_are_no_other_network(tmp_path, monkeypatch):
    from edgesr.models import intake

    for name in ("a-x2.safetensors", "a-x2.int8.safetensors", "a-x2.md"):
        (tmp_path / name).touch()
    monkeypatch.setattr(intake.resources, "files", lambda package: tmp_path)
    assert intake.shipped_names() == ["a-x2"]

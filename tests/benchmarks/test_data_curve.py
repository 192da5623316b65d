"""What data are worth: parts in each other, a command that goes on, a table that adds up."""

import json

import numpy as np
import pytest
from edgesr.benchmarks import data_curve
from edgesr.benchmarks.data_curve import Setup, gather, main, markdown, parts, run
from PIL import Image

from edgesr.errors import UsageError

SETUP = Setup(network="plain-d1c4-x2", steps=4, every=2, batch=2, patch=16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight of 0.03 megapixels in two folders, with names that clash."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for place in ("a", "b"):
        (folder / place).mkdir()
        for n in range(4):
            small = Image.fromarray(rng.integers(0, 256, (12, 11, 3), np.uint8))
            small.resize((176, 168), Image.Resampling.BICUBIC).save(folder / place / f"{n}.png")
    return folder


def test_smaller_parts_lie_in_larger_ones(photos):
    everything = sorted(photos.rglob("*.png"))
    found = parts(everything, [1.0, 0.5, 0.01], seed=0)
    assert sorted(found[1.0]) == everything
    assert len(found[0.5]) in (4, 5) and len(found[0.01]) == 1
    assert set(found[0.01]) < set(found[0.5]) < set(found[1.0])


def test_photos_of_one_name_do_not_hide_each_other(photos, tmp_path):
    folder = gather(sorted(photos.rglob("*.png")), tmp_path / "all")
    assert len(list(folder.iterdir())) == 8
    assert len(list(gather(sorted(photos.rglob("0.png")), folder).iterdir())) == 2


def test_a_stopped_command_goes_on(photos, tmp_path, monkeypatch):
    out, calls, real = tmp_path / "r.json", [], data_curve.learn

    def counted(share, *rest):
        calls.append(share)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(share, *rest)

    monkeypatch.setattr(data_curve, "learn", counted)
    monkeypatch.setattr(data_curve, "judges", lambda names, scale, colour: {})
    arguments = [photos / "a", photos / "b"], [0.3, 1.0], SETUP, photos / "a", tmp_path / "w"
    with pytest.raises(KeyboardInterrupt):
        run(*arguments, [], out)
    assert [row["share"] for row in json.loads(out.read_text())["rows"]] == [1.0]
    rows = run(*arguments, [], out)["rows"]
    assert calls == [1.0, 0.3, 0.3]
    assert [(row["photos"], row["megapixels"]) for row in rows] == [(8, 0.2), (3, 0.1)]
    assert [list(row["curve"]) for row in rows] == [["2", "4"]] * 2
    assert rows[0]["curve"] != rows[1]["curve"]
    with pytest.raises(UsageError, match="was measured with another setup"):
        run(*arguments[:2], Setup(steps=9), *arguments[3:], [], out)


def test_the_table_adds_up():
    document = {
        "setup": {"network": "n-x2", "batch": 3, "patch": 4}, "held_out": "Kodak24",
        "protocol": "as papers do", "machine": {"cpu": "a cpu", "packages": {"torch": "2"}},
        "rows": [
            {"share": share, "photos": photos, "megapixels": 2.5, "epochs": 7.0,
             "curve": {"1000": 30.004}, "psnr": {"set14": 29.126}}
            for share, photos in ((0.25, 3), (1.0, 1200))
        ],
    }  # fmt: skip
    lines = markdown(document).splitlines()
    assert lines[0] == "| photos | megapixels | epochs | step 1,000 | set14 |"
    assert lines[2:4] == [
        "| 1,200 | 2.5 | 7.0 | 30.00 | 29.13 |",
        "| 3 | 2.5 | 7.0 | 30.00 | 29.13 |",
    ]
    assert "dB of the average on Kodak24. as papers do. a cpu, torch 2" in lines[-1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "a run needs --data and --validation"),
        (["--markdown"], "holds no figures yet; measure without --markdown"),
        (["--data", "x", "--validation", "x", "--shares", "2"], "--shares are above 0, and 1 is"),
        (["--data", "x", "--validation", "x"], "x"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, capsys, words, complaint):
    assert main([*words, "--out", str(tmp_path / "none.json")]) in (2, 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("edgesr: ") and complaint in line


def test_a_file_that_is_no_result(tmp_path, capsys):
    (tmp_path / "bad.json").write_text("{")
    assert main(["--markdown", "--out", str(tmp_path / "bad.json")]) == 3
    assert "bad.json is not a result of this command" in capsys.readouterr().err

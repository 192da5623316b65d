"""The training side beside the collapsed form."""

import json

from edgesr.benchmarks import collapsed


def test_both_forms_are_timed_and_counted(tmp_path, capsys):
    out = tmp_path / "collapsed.json"
    given = ["ecbsr-m4c16-x2", "--height", "24", "--width", "32", "--runs", "3", "--out", str(out)]
    assert collapsed.main(given) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["convolutions"] == 6 < row["before_convolutions"]
    assert row["macs"] < row["before_macs"]
    assert len(row["samples"]) == len(row["before_samples"]) == 3
    assert "| ecbsr-m4c16-x2 |" in capsys.readouterr().out


def test_ratio_is_before_over_after():
    row = {
        "network": "n", "before_convolutions": 9, "convolutions": 3, "before_macs": 2e9,
        "macs": 1e9, "before_samples": [30.0], "samples": [10.0],
    }  # fmt: skip
    assert "| 3.0 |" in collapsed.markdown([row])


def test_an_unknown_network_is_one_sentence(capsys):
    assert collapsed.main(["nonsense-x2"]) != 0
    assert capsys.readouterr().err.startswith("edgesr: ")

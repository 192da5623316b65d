"""Other runtimes: processes that take turns, and the table they end up in."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from edgesr.benchmarks.peers import runtimes
from edgesr.benchmarks.peers.runtimes import Row

from edgesr.errors import EnvironmentLimitError, UsageError

SERVER = """
import json, sys
for number, _ in enumerate(sys.stdin):
    if {dies} and number == 2:
        sys.exit(3)
    print("chatter")
    print(json.dumps({{"ms": {ms} + number}}), flush=True)
"""


def command(ms, dies=False):
    return [sys.executable, "-c", SERVER.format(ms=ms, dies=dies)]


def test_the_first_inference_does_not_count_and_a_dead_runtime_loses_its_row_only():
    rows = [Row("n", "fp32", name) for name in ("a", "dead", "absent")]
    rows[2].error = "not installed"
    runtimes._run(rows, [command(10), command(20, dies=True), []], runs=3)
    assert rows[0].samples == [11, 12, 13] and not rows[0].error
    assert rows[1].samples == [] and rows[1].error == "its runtime died (exit code 3)"
    assert rows[2].error == "not installed"


def test_the_table_compares_with_ours():
    rows = [
        Row("n", "int8", runtimes.OURS, samples=[50.0, 50.0], size=55.4, seconds=2.2),
        Row("n", "int8", "other", samples=[75.0, 80.0, 88.0], decibel=45.46, left={"aten.add": 1}),
        Row("n", "int8", "gone", error="no wheel"),
    ]
    document = {
        "height": 4, "width": 6, "started": "2026-11-22T05",
        "rows": [vars(row) for row in rows],
    }  # fmt: skip
    text = runtimes.markdown(document)
    assert "| n | int8 | edgesr | 50.0 | 0 | 1.00 | same | 55 | 2 | yes |  |" in text
    assert "| n | int8 | other | 80.0 | 8 | 1.60 | 45.5 |  |  | no |  |" in text
    assert "no wheel" in text


def test_a_way_to_quantize_has_no_fp32_and_peers_may_be_left_out(tmp_path, monkeypatch, noise):
    def absent(*_):
        raise EnvironmentLimitError("not here")

    monkeypatch.setattr(runtimes, "_converted", absent)
    monkeypatch.setattr(runtimes.exchange, "_write_onnx", lambda *_: None)
    monkeypatch.setattr(runtimes, "images_of", lambda *_: ([], [noise]))
    out = tmp_path / "out.json"
    assert runtimes.main([
        "--networks", "plain-s-x2", "--peers", "mnn", "--cache", str(tmp_path), "--out", str(out),
    ]) == 0  # fmt: skip
    rows = [(row["precision"], row["tool"]) for row in json.loads(out.read_text())["rows"]]
    assert rows == [
        ("fp32", "edgesr"), ("fp32", "mnn"),
        ("int8", "edgesr"), ("int8", "mnn"), ("int8", "mnn ema"), ("int8", "mnn ema winograd"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "peer", [runtimes.EXECUTORCH, runtimes.NCNN, runtimes.MNN], ids=lambda peer: peer.name
)
def test_every_runtime_has_its_script_and_pins(peer):
    folder = runtimes._HERE
    assert (folder / peer.script).exists()
    assert "==" in (folder / "requirements" / f"{peer.name}.txt").read_text()


def test_our_ncnn_file_runs_where_pnnxs_does(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(runtimes, "environment", lambda peer, cache: Path(sys.executable))
    runtime = next(r for r in runtimes.RUNTIMES if r.target == "ncnn")
    photos = [rng.integers(0, 256, (24, 40, 3), np.uint8)]
    np.save(tmp_path / "input.npy", rng.random((1, 3, 24, 40), np.float32))
    row = Row("plain-s-x2", "fp32", runtime.name)
    command = runtimes._converted(row, runtime, tmp_path, photos, tmp_path)
    runtimes._run([row], [command], runs=2)
    assert len(row.samples) == 2 and not row.error
    assert row.operators["Convolution"] == 7 and set(row.versions) == {"edgesr", "ncnn"}
    assert runtimes._pixels(Path(command[-1])).shape == (48, 80, 3)
    with pytest.raises(UsageError, match="no zero point"):
        runtimes._converted(Row("plain-s-x2", "int8", "x"), runtime, tmp_path, photos, tmp_path)

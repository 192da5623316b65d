"""Rates, shares and warnings by hand; what is written is read back."""

import dataclasses
import json
import time

import pytest
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import Load, LoadMeter, Machine, this_machine
from edgesr.benchmarks.memory import Memory
from edgesr.benchmarks.results import BenchResult, Peak, Row, read_result, write_result

from edgesr.errors import BadFileError, OutputExistsError

MACHINE = Machine("a chip", 4, ("avx2",), 8.0, "Linux", "3.11", {"torch": "2.13.0"})


def row(**changes):
    facts = Row(
        artifact="net_int8.tflite", runtime="litert", runtime_version="2.3.0", delegate="xnnpack",
        threads=1, height=360, width=640, scale=3, precision="int8",
        samples=[60.0, 50.0, 52.0], macs=10_400_000_000, sha256="ab", memory=Memory(100.0, 130.5),
        manifest={"network": "net"},
    )  # fmt: skip
    return dataclasses.replace(facts, **changes)


def result(*rows, load=None, peaks=None):
    default = [Peak("int8", 1, 2**30, [6.0, 5.0, 5.3687091]), Peak("fp32", 2, 2**30, [16.0])]
    return BenchResult(
        rows=list(rows) or [row()], peaks=default if peaks is None else peaks, plan=Plan(runs=3),
        machine=MACHINE, load=load or Load(0.1, 1.0, 0.05), started="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_rates_by_hand():
    measured = row()
    assert measured.output_megapixels == pytest.approx(1080 * 1920 / 1e6)
    assert measured.ms_per_megapixel == pytest.approx(52 / 2.0736)
    assert measured.rate == pytest.approx(200.0)  # 10.4 GMAC in 52 ms
    assert measured.best_rate == pytest.approx(208.0)
    assert measured.memory.increase_mb == 30.5


def test_share_is_of_the_same_arithmetic_and_threads():
    """2^30 MAC in 5.3687091 ms are 200 GMAC/s: all of the peak."""
    assert result().share_of_peak(row()) == pytest.approx(1.0, rel=1e-6)
    # Fastest runs: 208 GMAC/s of 2^30 MAC in 5 ms.
    assert result().best_share_of_peak(row()) == pytest.approx(208 / (2**30 / 5e6))
    assert result().share_of_peak(row(threads=2)) is None
    half = row(precision="fp16", threads=2, macs=2**29, samples=[16.0])
    assert result().share_of_peak(half) == pytest.approx(0.5)
    assert result().share_of_peak(row(macs=None)) is None


def test_the_fastest_ceiling_counts_and_a_broken_one_is_called_out():
    """A ceiling stuck at half its rate does not double the share."""
    good = Peak("int8", 1, 2**30, [5.3687091] * 3)
    stuck = Peak("int8", 1, 2**30, [10.7374182] * 3)
    assert result(peaks=[stuck, good]).share_of_peak(row()) == pytest.approx(1, rel=1e-6)
    steady = row(samples=[52.0], macs=10_300_000_000)
    assert result(steady, peaks=[good]).warnings() == []
    (warning,) = result(steady, peaks=[stuck]).warnings()
    assert "ceiling was disturbed" in warning


def test_round_trip(tmp_path):
    before = result(row(), row(runtime="ort", memory=None))
    path = tmp_path / "deep" / "results.json"
    write_result(before, path)
    assert read_result(path) == before
    assert json.loads(path.read_text())["table"][0]["median_ms"] == 52.0
    with pytest.raises(OutputExistsError, match="--force"):
        write_result(before, path)
    write_result(before, path, force=True)


def test_readers_ignore_what_later_versions_add(tmp_path):
    path = tmp_path / "r.json"
    document = json.loads(result().to_json())
    document["rows"][0]["invented_later"] = 1
    document["machine"]["invented_later"] = 1
    path.write_text(json.dumps(document))
    assert read_result(path) == result()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1}', '{"version": "x"}', "\x00"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(BadFileError, match=r"r\.json"):
        read_result(path)


def test_missing_and_future_files_are_refused(tmp_path):
    with pytest.raises(BadFileError, match="cannot read"):
        read_result(tmp_path / "none.json")
    document = json.loads(result().to_json())
    (tmp_path / "r.json").write_text(json.dumps({**document, "version": 99}))
    with pytest.raises(BadFileError, match="version 99"):
        read_result(tmp_path / "r.json")


def test_a_busy_machine_and_a_noisy_row_are_called_out():
    assert result(row(samples=[60.0, 60.1, 60.2])).warnings() == []
    (busy,) = result(row(samples=[60.0]), load=Load(0.1, 3.0, 1.7)).warnings()
    assert "1.7 of 4 cores" in busy
    (unknown,) = result(row(samples=[60.0]), load=Load(3.5, 4.0, None)).warnings()
    assert "3.5" in unknown
    (noisy,) = result(row(samples=[60.0, 60.0, 99.0])).warnings()
    assert "net_int8.tflite in litert" in noisy and "60.0 ms" in noisy
    (crowd,) = result(row(samples=[60.0], threads=8)).warnings()
    assert "8 threads on 4 cores" in crowd


def test_this_machine_says_enough_and_nothing_private():
    import getpass
    import socket

    machine = this_machine()
    assert machine.cpu and machine.cores >= 1
    assert machine.packages["torch"]
    text = json.dumps(dataclasses.asdict(machine))
    host = socket.gethostname()
    assert len(host) < 4 or host not in text
    user = getpass.getuser()
    assert len(user) < 4 or user not in text


def test_own_work_is_not_blamed_on_others():
    meter = LoadMeter()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    load = meter.stop()
    cores = this_machine().cores
    assert load.others is None or 0 <= load.others <= cores

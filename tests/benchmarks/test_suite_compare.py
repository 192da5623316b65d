"""A planted slowdown and a planted loss are caught, noise is not."""

import dataclasses
import json

import numpy as np
import pytest
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import Load, Machine
from edgesr.benchmarks.results import BenchResult, Row, write_result
from edgesr.benchmarks.suite.compare import compare, read_either
from edgesr.benchmarks.suite.result import Quality, SuiteResult, write_suite
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.errors import BadFileError, RegressionError, UsageError

MACHINE = Machine("a chip", 4, ("avx2",), 8.0, "Linux", "3.11", {"torch": "2.13.0"})
MANIFEST = {"network": "net", "target": "tflite", "precision": "int8"}


def samples(median, seed, runs=60, spread=0.02):
    return (median * np.random.default_rng(seed).normal(1, spread, runs)).tolist()


def row(taken, **changes):
    facts = Row(
        artifact="net.tflite", runtime="litert", runtime_version="2.3.0", delegate="xnnpack",
        threads=1, height=360, width=640, scale=3, precision="int8", samples=taken, sha256="ab",
        manifest=MANIFEST,
    )  # fmt: skip
    return dataclasses.replace(facts, **changes)


def quality(db):
    return Quality(
        artifact="net.tflite", sha256="ab", network="net", target="tflite", precision="int8",
        dataset="set5", protocol="Y", images=5, column="runtime int8",
        psnr={"torch fp32": 33.0, "runtime int8": db},
        against_float={"torch fp32": None, "runtime int8": 55.0}, bicubic=30.4,
    )  # fmt: skip


def suite(rows, db=32.9, machine=MACHINE):
    started = "2026-01-01T00:00:00+00:00"
    run = BenchResult(rows, [], Plan(), machine, Load(0.1, 1.0, 0.05), started)
    return SuiteResult("trial", started, [run], [quality(db)], [])


BEFORE = suite([row(samples(50, 1))])


def test_equal_runs_pass():
    """A hundred pairs of the same thing: noise fails none."""
    for seed in range(2, 52):
        found = compare(BEFORE, suite([row(samples(50, seed))]))
        assert found.failed == [] and found.latencies[0].verdict == "same"


def test_a_slowdown_of_ten_percent_is_caught():
    for seed in range(2, 22):
        found = compare(BEFORE, suite([row(samples(55, seed))]), max_slowdown=0.05)
        (said,) = found.failed
        assert "net tflite int8 360x640, litert on cpu" in said and found.latencies[0].ratio > 1.08
        assert found.latencies[0].interval.low > 1.05


def test_a_slowdown_within_the_bound_passes_and_a_gain_is_seen():
    assert compare(BEFORE, suite([row(samples(51, 2))])).failed == []
    assert compare(BEFORE, suite([row(samples(40, 2))])).latencies[0].verdict == "faster"


def test_a_loss_of_a_tenth_of_a_decibel_is_caught():
    found = compare(BEFORE, suite([row(samples(50, 2))], db=32.8), max_drop=0.03)
    (said,) = found.failed
    assert said.startswith("net tflite int8 on set5 (Y): 0.100 dB lost")
    assert compare(BEFORE, suite([row(samples(50, 2))], db=32.88)).failed == []
    assert compare(BEFORE, suite([row(samples(50, 2))], db=33.4)).failed == []


def test_too_few_or_too_noisy_samples_are_unclear():
    found = compare(BEFORE, suite([row([55.0, 56.0])]))
    assert found.failed == [] and len(found.unclear) == 1
    found = compare(BEFORE, suite([row(samples(53, 2, runs=12, spread=0.3))]))
    assert found.latencies[0].verdict == "unclear" and found.latencies[0].noisy


def test_a_row_that_is_gone_fails_and_a_new_one_does_not():
    two = suite([row(samples(50, 1)), row(samples(50, 1), threads=2)])
    assert compare(two, BEFORE).failed == [
        "net tflite int8 360x640, litert on cpu, 2 thread(s): missing"
    ]
    assert compare(BEFORE, two).failed == []
    other = suite([row(samples(50, 1), threads=8)], db=30.0)
    with pytest.raises(UsageError, match="in common"):
        compare(BEFORE, dataclasses.replace(other, quality=[]))


def test_other_machines_are_refused_and_other_versions_are_said():
    other = dataclasses.replace(MACHINE, cpu="another chip", cores=64)
    with pytest.raises(
        UsageError, match=r"cpu a chip and another chip; cores 4 and 64.*--any-mach"
    ):
        compare(BEFORE, suite([row(samples(50, 2))], machine=other))
    assert compare(BEFORE, suite([row(samples(50, 2))], machine=other), any_machine=True).machines
    updated = compare(BEFORE, suite([row(samples(50, 2), runtime_version="2.4.0")]))
    assert updated.versions == ["litert 2.3.0 to 2.4.0"]


def test_the_command_is_a_gate(tmp_path):
    paths = [tmp_path / f"{n}.json" for n in range(4)]
    write_suite(BEFORE, paths[0])
    write_suite(suite([row(samples(50, 2))]), paths[1])
    write_suite(suite([row(samples(55, 2))]), paths[2])
    write_result(suite([row(samples(55, 3))]).runs[0], paths[3])

    def gate(a, b, *options):
        return CliRunner().invoke(app, ["bench", "compare", str(a), str(b), *options])

    passed = gate(paths[0], paths[1], "--json")
    assert passed.exit_code == 0, passed.exception
    latency, judged = json.loads(passed.stdout)["rows"]
    assert latency["low_percent"] < latency["change_percent"] < latency["high_percent"]
    assert judged["drop_db"] == 0
    failed = gate(paths[0], paths[2])
    assert isinstance(failed.exception, RegressionError) and failed.exception.exit_code == 10
    assert "slower" in failed.stdout
    assert gate(paths[0], paths[2], "--max-slowdown", "15%").exit_code == 0
    # files of `edgesr bench --out` do as well
    single = gate(paths[2], paths[3])
    assert "on set5" in str(single.exception) and "missing" in str(single.exception)
    for wrong in ("five", "-1%", "5%%"):
        refused = gate(paths[0], paths[1], "--max-slowdown", wrong)
        assert isinstance(refused.exception, UsageError)


def test_garbage_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(BadFileError, match=r"x\.json"):
        read_either(path)

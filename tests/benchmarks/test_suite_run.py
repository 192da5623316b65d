"""A suite does what is missing, loses what fails, and nothing else."""

import dataclasses
import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import Load, this_machine
from edgesr.benchmarks.results import BenchResult, Row
from edgesr.benchmarks.suite import jobs, timing
from edgesr.benchmarks.suite.definition import find_suite, parse
from edgesr.benchmarks.suite.pool import Job, LocalPool, Outcome
from edgesr.benchmarks.suite.result import Failure, read_suite
from edgesr.benchmarks.suite.run import run_suite
from edgesr.benchmarks.suite.timing import Located, batches, time_batch
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.errors import BadFileError, EdgesrError, UsageError
from edgesr.manifest import Manifest, sha256_of

SUITE = parse(
    """
name = "trial"
data = ["samples"]
[[part]]
networks = ["a", "b"]
precisions = ["int8", "fp32"]
shapes = ["8x12"]
threads = [1, 2]
""",
    "trial.toml",
)


class Stub:
    """A pool that writes made-up artifacts and figures, and counts."""

    def __init__(self, *broken):
        self.broken, self.done = broken, []

    def run(self, work):
        for job in work:
            self.done.append(job.label)
            if any(name in job.label for name in self.broken):
                yield Outcome(job, error=EdgesrError("broken"), attempts=2)
            elif job.call is jobs.export_file:
                yield Outcome(job, _artifact(job))
            else:
                yield Outcome(job, list(_figures(job)))


def _artifact(job):
    name = job.label.replace(" ", "-") + ".tflite"
    manifest = Manifest(
        network=job.arguments["model"].spec, artifact=name, target="tflite",
        precision=job.arguments["precision"], scale=3, colour="rgb", value_range=1.0,
        layout="NHWC", dtype="uint8", height=8, width=12,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )  # fmt: skip
    return {name: name.encode(), f"{name}.json": manifest.to_json().encode()}


def _figures(job):
    for precision, (name, sha256) in job.arguments["artifacts"].items():
        yield {
            "artifact": name, "sha256": sha256, "network": job.arguments["model"].spec,
            "target": "tflite", "precision": precision, "dataset": job.arguments["data"],
            "protocol": "Y", "images": 5, "column": "x", "psnr": {"x": 30.0},
            "against_float": {"x": None}, "bicubic": 28.0,
        }  # fmt: skip


class Timer:
    """Makes up a row for every cell; fails for some; may be stopped."""

    def __init__(self, *broken, stop_after=99):
        self.broken, self.stop_after, self.timed = broken, stop_after, []

    def __call__(self, work, plan):
        for batch in work:
            for one in batch:
                if len(self.timed) == self.stop_after:
                    raise KeyboardInterrupt
                self.timed.append(one.label)
                if any(name in one.label for name in self.broken):
                    yield [], [Failure(one.label, one.device, "died", 2)]
                else:
                    yield [_run(one, plan)], []


def _run(one, plan):
    row = Row(
        artifact=one.path.name, runtime=one.runtime, runtime_version="1", delegate="",
        threads=one.threads, height=8, width=12, scale=3, precision="int8", samples=[1.0] * 6,
        sha256=sha256_of(one.path),
    )  # fmt: skip
    return BenchResult([row], [], plan, this_machine(), Load(0, 0, 0), "2026-01-01T00:00:00")


def test_everything_is_done_once(tmp_path):
    pool, timer = Stub(), Timer()
    result = run_suite(SUITE, tmp_path, pool=pool, timer=timer)
    assert len(list(result.rows())) == 2 * 2 * 2 and not result.failures
    assert len(result.quality) == 4 and result.quality_of(next(result.rows())[1])
    assert len(pool.done) == 4 + 2, "one export per file, one judging per network and image set"
    assert read_suite(tmp_path / "results.json") == result
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 8 and "psnr samples" in lines[0]
    again, timer = Stub(), Timer()
    assert run_suite(SUITE, tmp_path, pool=again, timer=timer) == dataclasses.replace(
        result, provenance=json.loads((tmp_path / "results.json").read_text())["provenance"]
    )
    assert again.done == timer.timed == []


def test_a_suite_that_was_stopped_does_the_rest(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_suite(SUITE, tmp_path, pool=Stub(), timer=Timer(stop_after=3))
    assert len(list(read_suite(tmp_path / "results.json").rows())) == 3
    pool, timer = Stub(), Timer()
    result = run_suite(SUITE, tmp_path, pool=pool, timer=timer)
    assert pool.done == [] and len(timer.timed) == 5 and len(list(result.rows())) == 8


def test_what_fails_is_said_and_tried_again_next_time(tmp_path):
    result = run_suite(
        SUITE, tmp_path, pool=Stub("b tflite fp32"), timer=Timer("a tflite int8 8x12 in litert, 2")
    )
    assert [failure.error for failure in result.failures] == ["broken", "died"]
    assert len(list(result.rows())) == 8 - 2 - 1
    pool, timer = Stub(), Timer()
    result = run_suite(SUITE, tmp_path, pool=pool, timer=timer)
    assert result.failures == [] and len(list(result.rows())) == 8
    assert pool.done == ["b tflite fp32 8x12", "b tflite on samples"] and len(timer.timed) == 3


def test_another_plan_is_timed_again_and_what_is_not_wanted_is_dropped(tmp_path):
    run_suite(SUITE, tmp_path, pool=Stub(), timer=Timer())
    changed = dataclasses.replace(SUITE, plan=dataclasses.replace(SUITE.plan, runs=50))
    timer = Timer()
    assert len(list(run_suite(changed, tmp_path, pool=Stub(), timer=timer).rows())) == 8
    assert len(timer.timed) == 8
    (part,) = SUITE.parts
    fewer = dataclasses.replace(changed, parts=(dataclasses.replace(part, networks=("a",)),))
    result = run_suite(fewer, tmp_path, pool=Stub(), timer=(timer := Timer()))
    assert len(list(result.rows())) == 4 and len(result.quality) == 2 and timer.timed == []
    with pytest.raises(UsageError, match="is of the suite `trial`"):
        run_suite(dataclasses.replace(SUITE, name="x"), tmp_path)


# --- batches ----------------------------------------------------------------------------------


def cells(*devices):
    return [Located(f"{d} {n}", Path("x"), d, n % 2 + 1) for d in devices for n in range(10)]


def test_a_batch_is_of_one_device_and_not_too_large():
    found = batches(cells("cpu", "adb:A", "adb:B"))
    assert [len(batch) for batch in found] == [8, 2, 5, 5, 5, 5]
    assert all(len({one.device for one in batch}) == 1 for batch in found)


def test_a_device_that_fails_on_one_artifact_loses_that_row(monkeypatch):
    tried, waited = [], []

    def bench_on(device, paths, plan, **options):
        tried.append(len(paths))
        if any("bad" in path for path in paths):
            raise DeviceError("unplugged")
        rows = [dataclasses.replace(_row(), artifact=path) for path in paths]
        return BenchResult(rows, [], plan, this_machine(), Load(0, 0, 0), "2026")

    def _row():
        return Row("x", "r", "1", "", 1, 8, 12, 3, "int8", [1.0], device="adb:A")

    monkeypatch.setattr(timing, "bench_on", bench_on)
    monkeypatch.setattr("time.sleep", waited.append)
    batch = [Located(name, name, "adb:A", 1) for name in ("good", "bad", "fine")]
    results, failures = time_batch(batch, Plan(), tell=lambda *_: None)
    assert sorted(row.artifact for result in results for row in result.rows) == ["fine", "good"]
    assert failures == [Failure("bad", "adb:A", "unplugged", 2)]
    assert tried == [3, 1, 1, 1], "together, then each alone"
    assert waited == [timing.RETURN], "once, for the phone to be plugged in again"


# --- processes --------------------------------------------------------------------------------


def die_at_first(folder):
    """Killed the first time, done the second."""
    flag = os.path.join(folder, "flag")  # noqa: PTH118 (a plain value travels to the child)
    if not os.path.exists(flag):  # noqa: PTH110
        open(flag, "w").close()  # noqa: PTH123
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def test_a_dead_worker_loses_its_job_which_is_tried_again(tmp_path):
    work = [
        Job("mortal", die_at_first, {"folder": str(tmp_path)}),
        Job("dead", os._exit, {"status": 3}),
        Job("wrong", parse, {"text": "a = = 1", "place": "x.toml"}),
        Job("strange", int, {"x": "three"}),
        Job("fine", pow, {"base": 2, "exp": 5}),
    ]
    found = {outcome.job.label: outcome for outcome in LocalPool(2).run(work)}
    assert found["fine"].value == 32 and found["mortal"].value == "survived"
    assert found["mortal"].attempts == 2
    assert "died with code 3" in str(found["dead"].error) and found["dead"].attempts == 2
    assert isinstance(found["wrong"].error, BadFileError) and found["wrong"].attempts == 1
    assert "unexpected" in str(found["strange"].error)


# --- the real thing ---------------------------------------------------------------------------


def test_smoke_suite_and_its_command(tmp_path):
    """Export, time, compare with itself; the second time nothing is left to do."""
    assert len(find_suite("smoke").parts) == 1
    out = tmp_path / "smoke"
    result = CliRunner().invoke(app, ["bench", "--suite", "smoke", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.exception
    (row,) = json.loads(result.stdout)["rows"]
    assert row["runs"] == 6 and row["load_ms"] > 0 and row["bytes_moved"] > 0
    before = (out / "results.json").read_text()
    assert CliRunner().invoke(app, ["bench", "--suite", "smoke", "--out", str(out)]).exit_code == 0
    after = (out / "results.json").read_text()
    assert json.loads(before)["runs"] == json.loads(after)["runs"]
    same = CliRunner().invoke(app, ["bench", "compare", *[str(out / "results.json")] * 2])
    assert same.exit_code == 0 and "+0.0 %" in same.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "smok"], "did you mean `smoke`"),
        (["--suite", "smoke", "plain-m-x3"], "leave models and their options out"),
        (["--suite", "smoke", "--runs", "3"], "leave models and their options out"),
        (["plain-m-x3", "--ray", "auto"], "--ray spreads a --suite"),
        (["x.tflite", "--device", "cpu", "--device", "adb:A"], "timed alone"),
        (["x.tflite", "--device", "adb:A", "--device", "adb:A"], "twice"),
        (["--threads", "1"], "nothing to time"),
    ],
)
def test_mistakes_on_the_command_line(arguments, words):
    error = CliRunner().invoke(app, ["bench", *arguments]).exception
    assert isinstance(error, UsageError) and words in str(error)

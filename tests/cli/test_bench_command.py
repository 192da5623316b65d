"""The command: what it prints, what it refuses."""

import json

import pytest
from edgesr.benchmarks.results import read_result
from typer import Typer
from typer.testing import CliRunner

from edgesr.cli.bench import bench_command
from edgesr.errors import BadFileError, EdgesrError, OutputExistsError, UsageError

app = Typer()
app.command()(bench_command)
SMALL = ["plain-s-x2", "--shape", "8x12", "--runs", "3", "--warm-up", "0", "--no-memory"]


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments):
    error = run(*arguments).exception
    assert isinstance(error, EdgesrError), error
    return error


def test_the_table_has_a_row_per_thread_count_and_the_ceiling_below():
    result = run(*SMALL, "--threads", "1,2")
    assert result.exit_code == 0, result.exception
    rows = [line for line in result.stdout.splitlines() if "plain-s-x2" in line]
    assert len(rows) == 2
    assert "GEMM fp32 x1:" in result.stdout and "fp32 x2:" in result.stdout


def test_json_and_file_agree(tmp_path):
    out = tmp_path / "r.json"
    result = run(*SMALL, "--json", "--out", str(out))
    assert result.exit_code == 0, result.exception
    printed, written = json.loads(result.stdout), read_result(out)
    (row,) = printed["rows"]
    assert row["median_ms"] == written.rows[0].summary.median
    assert row["runtime"] == "torch" and row["runs"] == 3
    assert printed["machine"]["cores"] == written.machine.cores
    assert isinstance(refused(*SMALL, "--out", str(out)), OutputExistsError)
    assert run(*SMALL, "--out", str(out), "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.tflite", "--device", "toaster"], "there are cpu"),
        (["x.tflite", "--device", "arm64", "--shape", "8x8"], "are for cpu"),
        (["x.tflite", "--device", "arm64", "--threads", "1,2"], "one number"),
        (["x.tflite", "--device", "adb", "--serve"], "--device web"),
        (["x.tflite", "--serve"], "--device web"),
        (["x.tflite", "--require-full"], "not for cpu"),
        (["x.tflite", "--threads", "two"], "--threads"),
        (["x.tflite", "--threads", "0"], "--threads"),
        (["x.tflite", "--shape", "360"], "HEIGHTxWIDTH"),
        (["x.tflite", "--runs", "0"], "runs must be at least 1"),
        (["x.tflite", "--runtime", "tvm"], "no runtime is called `tvm`"),
        (["plane-m-x3"], "plain-m"),
    ],
)
def test_mistakes_are_named(arguments, words):
    error = refused(*arguments)
    assert isinstance(error, UsageError)
    assert words in str(error)


def test_a_file_that_is_not_there_is_said_before_anything_is_measured():
    assert isinstance(refused("x.tflite"), BadFileError)

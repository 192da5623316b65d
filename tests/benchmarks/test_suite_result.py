"""What a suite writes is read back, and nothing else is."""

import dataclasses
import json

import pytest
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.machine import Load, Machine
from edgesr.benchmarks.results import BenchResult, Copy, Peak, Row
from edgesr.benchmarks.suite.result import Failure, Quality, SuiteResult, read_suite, write_suite

from edgesr.errors import BadFileError

MACHINE = Machine("a chip", 4, ("avx2",), 8.0, "Linux", "3.11", {"torch": "2.13.0"})
ROW = Row(
    artifact="net_int8.tflite", runtime="litert", runtime_version="2.3.0", delegate="xnnpack",
    threads=1, height=360, width=640, scale=3, precision="int8", samples=[60.0, 50.0, 52.0],
    sha256="ab", manifest={"network": "net"}, phases={"load": 3.5}, bytes_moved=10, by_process=(3,),
)  # fmt: skip
QUALITY = Quality(
    artifact="net_int8.tflite", sha256="ab", network="net", target="tflite", precision="int8",
    dataset="set5", protocol="Y", images=5, column="runtime int8",
    psnr={"torch fp32": 33.0, "runtime int8": 32.75},
    against_float={"torch fp32": None, "runtime int8": 55.0}, bicubic=30.4,
)  # fmt: skip


def suite(rows=(ROW,), quality=(QUALITY,), failures=()):
    run = BenchResult(
        rows=list(rows), peaks=[Peak("int8", 1, 2**30, [6.0])], plan=Plan(runs=3), machine=MACHINE,
        load=Load(0.1, 1.0, 0.05), started="2026-01-01T00:00:00+00:00",
        copies=[Copy(1, 2 * 10**9, [100.0])],
    )  # fmt: skip
    return SuiteResult(
        "trial", "2026-01-01T00:00:00+00:00", [run], list(quality), list(failures), {"hash": "x"}
    )


def test_round_trip(tmp_path):
    before = suite(failures=[Failure("net tflite", "adb:X", "unplugged", 2)])
    write_suite(before, tmp_path / "deep" / "results.json")
    assert read_suite(tmp_path / "deep" / "results.json") == before


def test_quality_stands_beside_the_row_of_its_file():
    other = dataclasses.replace(ROW, sha256="cd")
    result = suite(rows=[ROW, other])
    assert result.quality_of(ROW) == [QUALITY] and result.quality_of(other) == []
    assert QUALITY.db == 32.75 and QUALITY.drop == 0.25 and QUALITY.gain == pytest.approx(2.35)
    first, second = result.table()
    assert (first["psnr set5"], first["drop set5"], first["median_ms"]) == (32.75, 0.25, 52.0)
    assert "psnr set5" not in second


def test_bandwidth_by_hand():
    run = suite().runs[0]
    assert run.copies[0].rate == pytest.approx(20)  # 2 GB in 0.1 s
    assert run.copy_for(ROW) == run.copies[0]
    assert run.copy_for(dataclasses.replace(ROW, threads=2)) is None


def test_later_fields_are_ignored(tmp_path):
    path = tmp_path / "r.json"
    document = json.loads(suite().to_json())
    document["invented"] = document["quality"][0]["invented"] = 1
    path.write_text(json.dumps(document))
    assert read_suite(path) == suite()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "\x00", '{"kind": "edgesr suite", "version": 1}', '{"version": 1}']
)
def test_garbage_is_refused(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(BadFileError, match=r"r\.json"):
        read_suite(path)


def test_missing_future_and_other_files_are_refused(tmp_path):
    with pytest.raises(BadFileError, match="cannot read"):
        read_suite(tmp_path / "none.json")
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**json.loads(suite().to_json()), "version": 99}))
    with pytest.raises(BadFileError, match="version 99"):
        read_suite(path)
    path.write_text(suite().runs[0].to_json())
    with pytest.raises(BadFileError, match="another kind of file"):
        read_suite(path)

"""Two real adbd at once: both are measured, and the one that is unplugged loses its own rows."""

import json

import pytest
from edgesr.benchmarks.devices import open_device
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.suite.everywhere import bench_everywhere
from edgesr.benchmarks.suite.timing import Located, time_batch
from programs import SECOND, SERIAL, executable
from typer.testing import CliRunner

from edgesr.cli import app

PLAN = Plan(runs=2, warm_up=0, processes=2)


def test_both_are_asked_at_once(phone, second_phone, artifact, sandbox):
    """Each answers only while the other is being asked; one after the other, none would."""
    seen = sandbox / "tmp"
    for name, other, programs in (
        ("first", "second", sandbox / "data" / "local" / "bin"),
        ("second", "first", second_phone.bin),
    ):
        abi = (
            f"touch /tmp/{name}; i=0; "
            f"while [ ! -e /tmp/{other} ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done; "
            f"[ -e /tmp/{other} ] && echo arm64-v8a"
        )
        executable(
            programs / "getprop",
            f'#!/bin/sh\n[ "$1" != ro.product.cpu.abi ] || {{ {abi}; }}\n',
        )
    try:
        words = ["bench", str(artifact()), "--runs", "2", "--processes", "1", "--json"]
        phones = ["--device", f"adb:{SERIAL}", "--device", f"adb:{SECOND}"]
        printed = CliRunner().invoke(app, [*words, *phones])
    finally:
        for name in ("first", "second"):
            (seen / name).unlink(missing_ok=True)
    assert printed.exit_code == 0, printed.output
    rows = json.loads(printed.stdout)["rows"]
    assert [row["parity"] for row in rows] == ["exact", "exact"]
    assert len({row["device"] for row in rows}) == 2


@pytest.mark.parametrize("comes_back", [True, False])
def test_one_that_is_unplugged_loses_its_own_row(phone, second_phone, artifact, comes_back):
    phones = [open_device(f"adb:{SERIAL}"), open_device(f"adb:{SECOND}")]
    lost, unplugged = [], []

    def pull_the_cable(what, done, _all):
        if what.endswith(phones[1].name) and done == 1 and not unplugged:
            unplugged.append(what)
            second_phone.unplug()
            if comes_back:
                second_phone.plug()

    result = bench_everywhere(phones, [artifact()], PLAN, progress=pull_the_cable, lost=lost.append)
    assert unplugged
    names = [device.name for device in phones]
    assert [row.device for row in result.rows] == (names if comes_back else names[:1])
    assert all(row.parity.exact for row in result.rows)
    assert ["went away" in str(error) for error in lost] == ([] if comes_back else [True])


def test_a_suite_times_the_rows_of_an_unplugged_phone_again(phone, second_phone, artifact):
    """Two artifacts in turns: the first row of the phone is complete when the cable is pulled."""
    files = [artifact(), artifact(io="int8")]
    cells = [Located(path.name + str(i), path, f"adb:{SECOND}", 1) for i, path in enumerate(files)]
    unplugged = []

    def pull_the_cable(_what, done, _all):
        if done == 1 and not unplugged:
            unplugged.append(done)
            second_phone.unplug()
            second_phone.plug()

    results, failures = time_batch(cells, PLAN, tell=pull_the_cable)
    rows = [row for result in results for row in result.rows]
    assert unplugged and failures == []
    assert len(rows) == 2 and all(row.parity.exact for row in rows)

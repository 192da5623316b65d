"""Suites are read, spelled out, and mistakes in them are named with file, line and fix."""

import pytest
from edgesr.benchmarks.suite.cells import files_of, timings_of
from edgesr.benchmarks.suite.definition import Suite, find_suite, parse, shipped_suites

from edgesr.errors import BadFileError, UsageError

GOOD = """
name = "trial"
data = "samples"

[plan]
runs = 7
until-stable = 0.05

[[part]]
networks = ["plain-m-x3", "random:plain-s-x2"]
targets = ["tflite", "onnx"]
precisions = ["int8", "fp32"]
shapes = ["8x12", "16x24"]
threads = [1, 2]

[[part]]
networks = "*-x3"
devices = ["cpu", "ethos-u55-256"]
"""


def test_everything_meets_everything():
    suite = parse(GOOD, "trial.toml")
    assert (suite.name, suite.data, suite.plan.runs, suite.plan.processes) == (
        "trial", ("samples",), 7, 1,
    )  # fmt: skip
    first = Suite("", suite.parts[:1])
    assert len(files_of(first)) == 2 * 2 * 2 * 2
    # .tflite opens in one of the usual runtimes, .onnx in two; each with one and two threads
    assert len(timings_of(first)) == 8 * 1 * 2 + 8 * 2 * 2
    second = suite.parts[1]
    assert "plain-m-x3" in second.networks and all(n.endswith("-x3") for n in second.networks)
    assert {t.device for t in timings_of(Suite("", (second,)))} == {"cpu", "ethos-u55-256"}


def test_a_device_that_does_not_open_a_file_is_passed_over():
    suite = parse(
        '[[part]]\nnetworks = "plain-m-x3"\ntargets = "onnx"\ndevices = ["ethos-u55-256"]', "x"
    )
    assert timings_of(suite) == []


def test_what_is_asked_twice_is_done_once():
    part = '[[part]]\nnetworks = ["plain-m-x3", "plain-m-x3"]\n'
    assert len(timings_of(parse(part * 2, "x"))) == 1


def test_shipped_suites_are_sound():
    assert {"mobile-x3", "smoke"} <= set(shipped_suites())
    for name in shipped_suites():
        suite = find_suite(name)
        assert suite.name == name and timings_of(suite)


def test_a_file_may_be_given(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[part]]\nnetworks = ["plain-m-x3"]')
    assert find_suite(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("wrong", "line", "words"),
    [
        ('nmae = "x"', 1, "`nmae` is no key here, did you mean `name`?"),
        ("[plan]\nrun = 3", 2, "did you mean `runs`?"),
        ("[plan]\nruns = 0", 2, "runs must be at least 1"),
        ('[plan]\nruns = "many"', 2, "is a number"),
        ('data = ["set55"]', 1, "did you mean `set5`?"),
        ('[[part]]\nnetworks = "a"\n[[part]]\nnetworks = "b"\ntargets = ["tflte"]', 5,
         "did you mean `tflite`?"),
        ('[[part]]\nnetworks = "a"\nprecisions = ["int4"]', 3, "there are fp32"),
        ('[[part]]\nnetworks = "a"\nshapes = ["360"]', 3, "HEIGHTxWIDTH"),
        ('[[part]]\nnetworks = "a"\ndevices = ["toaster"]', 3, "there are cpu"),
        ('[[part]]\nnetworks = "a"\nthreads = [0]', 3, "from 1 up"),
        ('[[part]]\nnetworks = "a"\nruntimes = ["litter"]', 3, "did you mean `litert`?"),
        ('[[part]]\nnetworks = "nothing-*"', 2, "no shipped network fits"),
        ('[[part]]\nnetworks = []', 2, "is empty"),
        ('[[part]]\ntargets = "tflite"', 1, "`networks` is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_named(wrong, line, words):
    text = wrong if "[[part]]" in wrong else wrong + '\n[[part]]\nnetworks = "plain-m-x3"'
    with pytest.raises(UsageError) as raised:
        parse(text, "mine.toml")
    assert str(raised.value).startswith(f"mine.toml:{line}: `")
    assert words in str(raised.value)


def test_no_toml_no_parts_no_suite():
    with pytest.raises(BadFileError, match=r"mine\.toml is not TOML.*line 1"):
        parse("name = = 1", "mine.toml")
    with pytest.raises(UsageError, match="nothing to time"):
        parse('name = "x"', "mine.toml")
    with pytest.raises(UsageError, match="did you mean `mobile-x3`"):
        find_suite("mobil-x3")

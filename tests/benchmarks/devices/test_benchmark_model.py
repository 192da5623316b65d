"""Both tools called benchmark_model, as they print."""

import pytest
from edgesr.benchmarks.devices.benchmark_model import flags, flavour_of, read_benchmark
from edgesr.benchmarks.devices.device import DeviceError, Work

TFLITE = """\
INFO: Initialized session in 12.345ms.
INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the \
delegate.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds
INFO: count=7 first=81449 curr=79350 min=77385 max=88213 avg=79999 std=1929 p5=1 median=80001 p95=1
INFO: Running benchmark for at least 50 iterations and at least 1 seconds
INFO: count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929 p5=77000 median=79500 \
p95=86000
INFO: Inference timings in us: Init: 12345, First inference: 81449, Warmup (avg): 79999, \
Inference (avg): 79732
INFO: Memory footprint delta from the start of the tool (MB): init=1.2 overall=3.4
INFO: Overall peak memory footprint (MB) via periodic monitoring: 12.3
"""
LITERT = """\
INFO: [benchmark_litert_model.h:11] ========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:12] Model initialization: 15.20 ms
INFO: [benchmark_litert_model.h:13] Warmup (first):      1.86 ms
INFO: [benchmark_litert_model.h:14] Warmup (avg):      0.90 ms (2 runs)
INFO: [benchmark_litert_model.h:15] Inference (avg):      0.86 ms (20 runs)
INFO: [benchmark_litert_model.h:16] Inference (min):      0.80 ms
INFO: [benchmark_litert_model.h:17] Peak memory:      33.5 MB
INFO: [benchmark_litert_model.h:18] ======================================
"""


def test_tensorflow_lites_tool():
    found = read_benchmark(TFLITE, "phone")
    assert (found.flavour, found.runs) == ("tflite", 50)
    assert found.figure == pytest.approx(79.5) and found.average_ms == pytest.approx(79.732)
    assert found.init_ms == pytest.approx(12.345) and found.first_ms == pytest.approx(81.449)
    assert found.peak_mb == 12.3 and found.placement.full is True


def test_logcat_prefixes_exponents_and_old_builds():
    old = (
        "01-01 12:00 I tflite : count=1 curr=1007529\n"
        "01-01 12:00 I tflite : Inference timings in us: Init: 1.00753e+06, First inference: 4098, "
        "Warmup (avg): 1686.59, Inference (avg): 1.68792e+03\n"
    )
    found = read_benchmark(old, "phone")
    assert found.init_ms == pytest.approx(1007.53) and found.figure == pytest.approx(1.68792)
    assert found.median_ms is None and found.peak_mb is None and found.runs == 1
    assert found.placement.full is None


@pytest.mark.parametrize(
    "words", ["partially executed by the delegate w/ 3 delegate kernels", "not be executed by it"]
)
def test_partial_delegation_is_not_full(words):
    changed = TFLITE.replace("be completely executed by the delegate", words)
    words = changed.replace("will partially", "will be partially")
    words = words.replace("not be executed by it", "not be executed by the delegate")
    assert read_benchmark(words, "phone").placement.full is False


def test_litert_s_tool():
    found = read_benchmark(LITERT, "phone")
    assert (found.flavour, found.runs, found.figure) == ("litert", 20, 0.86)
    assert (found.init_ms, found.first_ms, found.peak_mb) == (15.2, 1.86, 33.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'nothing'"),
        ("Segmentation fault", "'Segmentation fault'"),
        ("ERROR: Failed to apply GPU delegate.", "Failed to apply GPU"),
        ("INFO: fine\nERROR: Disallowed CPU fallback detected.\n" + LITERT, "Disallowed CPU"),
        (TFLITE.replace("81449, Warmup", "--, Warmup"), "garbage"),
    ],
)
def test_failures_and_garbage_are_said(text, words):
    with pytest.raises(DeviceError, match=words):
        read_benchmark(text, "phone")


def test_each_tool_has_its_own_flags():
    assert flavour_of("--graph --use_xnnpack --num_runs") == "tflite"
    assert flavour_of("--graph --use_npu --require_full_delegation") == "litert"
    with pytest.raises(DeviceError, match="--help"):
        flavour_of("usage: ls [FILE]")
    work = Work(runs=9, warm_up=2, threads=4)
    for flavour in ("tflite", "litert"):
        given = flags(flavour, "m.tflite", work)
        assert {"--graph=m.tflite", "--num_runs=9", "--num_threads=4"} <= set(given)
    assert "--use_xnnpack=true" not in flags("litert", "m", work)

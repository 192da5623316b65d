"""Line-up, and a whole benchmark with fake sessions."""

import base64
import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from edgesr.benchmarks.cpu import bench
from edgesr.benchmarks.entrants import Entrant, line_up, load_network, tensor_for
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.memory import measure_memory
from edgesr.export import verify_script

from edgesr.errors import BadFileError, EnvironmentLimitError, UnsupportedError, UsageError
from edgesr.manifest import Manifest, Quantization
from edgesr.runtime import SessionInfo

MANIFEST = Manifest(
    network="net", artifact="net.tflite", target="tflite", precision="int8", scale=3, colour="rgb",
    value_range=1.0, layout="NHWC", dtype="uint8", height=4, width=6, macs=1000, sha256="abc",
    input_quantization=Quantization(1 / 255, 0), output_quantization=Quantization(1 / 255, 0),
)  # fmt: skip


@dataclass
class FakeRunner:
    """Remembers what it was given and on how many of torch's threads."""

    manifest: Manifest
    version: str = "1.0"

    def __post_init__(self):
        self.seen = []

    def infer(self, tensor):
        self.seen.append((tensor, torch.get_num_threads()))
        return np.repeat(np.repeat(tensor, 3, 1), 3, 2)

    def info(self):
        return SessionInfo("fake", self.version, "cpu", 1, notes=("slow on Sundays",))


@pytest.fixture(autouse=True)
def _restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_suffix_decides_which_runtimes_take_part():
    lines = line_up(["a.tflite", "b.onnx", "c.xml", "plain-m-x3"], threads=[1, 2])
    assert [(e.model, e.runtime, e.threads) for e in lines] == [
        (model, runtime, threads)
        for model, runtime in [
            ("a.tflite", "litert"), ("b.onnx", "ort"), ("b.onnx", "openvino"),
            ("c.xml", "openvino"), ("plain-m-x3", "torch"),
        ]
        for threads in (1, 2)
    ]  # fmt: skip


def test_repeated_models_and_threads_are_timed_once():
    assert len(line_up(["a.tflite", "a.tflite"], threads=[1, 1])) == 1


def test_a_runtime_named_is_the_only_one():
    assert [e.runtime for e in line_up(["b.onnx"], runtimes=["openvino"])] == ["openvino"]
    second_opinion = line_up(["a.tflite"], runtimes=["litert-reference"])
    assert [e.runtime for e in second_opinion] == ["litert-reference"]


def test_wrong_line_ups_say_why():
    with pytest.raises(UsageError, match="nothing to time"):
        line_up([])
    with pytest.raises(UsageError, match="no runtime is called `tvm`"):
        line_up(["a.onnx"], runtimes=["tvm"])
    with pytest.raises(UsageError, match="--threads"):
        line_up(["a.onnx"], threads=[0])
    with pytest.raises(UnsupportedError, match="ort or openvino, not with litert"):
        line_up(["a.onnx"], runtimes=["litert"])


def test_a_fixed_size_is_kept_and_a_free_one_chosen():
    entrant = Entrant("a.tflite", "litert", 1)
    assert entrant.size_for(MANIFEST) == (4, 6)
    free = dataclasses.replace(MANIFEST, height=None, width=None)
    assert entrant.size_for(free) == (360, 640)
    wanted = Entrant("a.tflite", "litert", 1, 100, 200)
    assert wanted.size_for(free) == (100, 200)
    with pytest.raises(UsageError, match="takes 4x6 only"):
        wanted.size_for(MANIFEST)


@pytest.mark.parametrize(
    ("changes", "shape", "dtype", "low", "high"),
    [
        ({}, (1, 40, 60, 3), np.uint8, 0, 255),
        ({"dtype": "int8", "input_quantization": Quantization(1 / 255, -128)},
         (1, 40, 60, 3), np.int8, -128, 127),
        ({"dtype": "float32", "layout": "NCHW"}, (1, 3, 40, 60), np.float32, 0, 1),
        ({"dtype": "float32", "value_range": 255.0, "colour": "y"}, (1, 40, 60, 1), np.float32,
         0, 255),
    ],
)  # fmt: skip
def test_the_input_is_what_the_manifest_says(changes, shape, dtype, low, high):
    tensor = tensor_for(dataclasses.replace(MANIFEST, **changes), 40, 60)
    assert (tensor.shape, tensor.dtype) == (shape, dtype)
    assert tensor.min() == low and tensor.max() == high
    assert tensor.flags["C_CONTIGUOUS"]
    assert np.array_equal(tensor, tensor_for(dataclasses.replace(MANIFEST, **changes), 40, 60))


def test_a_bench_times_everybody_and_the_ceilings_in_one_run():
    runners = {}

    def opener(entrant):
        precision = "fp32" if entrant.runtime == "torch" else "int8"
        runner = FakeRunner(dataclasses.replace(MANIFEST, precision=precision))
        runners[entrant.runtime, entrant.threads] = runner
        return runner

    told = []
    result = bench(
        line_up(["a.tflite", "net"], threads=[1, 2]), Plan(runs=4, warm_up=1, turn=2),
        memory=False, open_runner=opener, progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert [(r.artifact, r.runtime, r.threads) for r in result.rows] == [
        ("a.tflite", "litert", 1), ("a.tflite", "litert", 2),
        ("net", "torch", 1), ("net", "torch", 2),
    ]  # fmt: skip
    assert all(len(r.samples) == 4 and r.macs == 1000 and r.sha256 == "abc" for r in result.rows)
    assert {(p.arithmetic, p.threads) for p in result.peaks} == {
        ("int8", 1), ("int8", 2), ("fp32", 1), ("fp32", 2),
    }  # fmt: skip
    assert all(len(p.samples) == 4 and 0 < p.rate <= p.best_rate for p in result.peaks)
    assert all(result.share_of_peak(row) for row in result.rows)
    # the first call + warm-up 1 + two turns of (1 settling + 2 timed)
    assert all(len(runner.seen) == 8 for runner in runners.values())
    for row in result.rows:
        assert set(row.phases) == {"load", "first", "preprocess", "postprocess"}
        assert result.copy_for(row).rate > 0
    assert "slow on Sundays" in result.warnings()
    # four rows, two sizes of each of the four matrix products, copies with one and two threads
    assert told[-1] == ("timing", 2 * 14, 2 * 14)


def proved(runner):
    """`runner` with the samples of its own output in its manifest, as `export` leaves them."""
    image = verify_script.pattern(4, 6, 3)
    output = runner.infer(image[None])
    samples = output.reshape(-1)[verify_script.positions(output.size)].tobytes()
    golden = {
        "height": 4, "width": 6, "channels": 3, "samples": base64.b64encode(samples).decode()
    }  # fmt: skip
    parity = {"golden": golden, "reference": "integer reference"}
    return dataclasses.replace(runner, manifest=dataclasses.replace(runner.manifest, parity=parity))


def bench_one(runner):
    return bench(
        line_up(["a.tflite"]), Plan(runs=1, warm_up=0, turn=1), memory=False,
        open_runner=lambda _: runner,
    )  # fmt: skip


def test_a_row_holds_the_runtime_against_what_was_proved_at_export():
    (row,) = bench_one(proved(FakeRunner(MANIFEST))).rows
    assert row.parity.exact and row.parity.describe() == "exact"
    assert "integer reference at export" in row.parity.reference


def test_a_runtime_that_computes_something_else_is_marked():
    class Wrong(FakeRunner):
        def infer(self, tensor):
            output = super().infer(tensor)
            return np.where(output > 20, output - 3, output).astype(np.uint8)

    parity = bench_one(Wrong(proved(FakeRunner(MANIFEST)).manifest)).rows[0].parity
    assert not parity.exact and parity.max_lsb == 3 and 0 < parity.identical < 1
    assert parity.describe().startswith("3 LSB, ")


def test_an_artifact_without_a_recorded_output_is_marked():
    result = bench_one(FakeRunner(MANIFEST))
    assert result.rows[0].parity is None
    assert any("nothing is proved" in warning for warning in result.warnings())


def test_recorded_samples_that_do_not_fit_are_refused():
    runner = proved(FakeRunner(MANIFEST))
    runner.manifest.parity["golden"]["samples"] = "AAAA"
    with pytest.raises(BadFileError, match=r"recorded output of net\.tflite is damaged"):
        bench_one(runner)


def test_torch_runs_on_the_threads_of_its_row():
    """The GEMMs and other rows change torch's global number in between."""
    runners = {}

    def opener(entrant):
        runners[entrant.threads] = FakeRunner(dataclasses.replace(MANIFEST, precision="fp32"))
        return runners[entrant.threads]

    bench(line_up(["net"], threads=[1, 2]), Plan(runs=6, turn=1), memory=False, open_runner=opener)
    for threads, runner in runners.items():
        assert {seen for _, seen in runner.seen[1:]} == {threads}


def test_a_network_in_torch_has_its_multiplications_counted():
    """plain-s-x2 deployed: 3 to 16, four of 16 to 16, 16 to 12 channels, all 3x3."""
    (row,) = bench(
        line_up(["plain-s-x2"], shape=(8, 12)), Plan(runs=1, warm_up=0, turn=1), memory=False
    ).rows
    assert row.macs == 8 * 12 * 9 * (3 * 16 + 4 * 16 * 16 + 16 * 12)
    assert (row.height, row.width, row.scale, row.precision) == (8, 12, 2, "fp32")
    assert row.runtime == "torch" and row.runtime_version == torch.__version__


def test_random_weights_do_for_a_network_without_shipped_ones():
    network = load_network("edsr-baseline-x2")
    assert network.name == "edsr-baseline-x2" and not network.module.training
    with pytest.raises(UsageError, match="no network is called"):
        load_network("edsr-nonsense-x2")


def test_a_child_that_fails_is_reported_with_its_reason():
    entrant = dataclasses.asdict(Entrant("no/such/file.tflite", "litert", 1))
    with pytest.raises(
        EnvironmentLimitError, match=r"no/such/file\.tflite in litert .*--no-memory"
    ):
        measure_memory(entrant)


def test_memory_of_a_child_is_the_models_and_not_the_parents():
    """A parent of 400 MB more must not show; a larger image must."""
    ballast = np.ones(50_000_000)
    entrant = Entrant("plain-s-x2", "torch", 1, 32, 32)
    small = measure_memory(dataclasses.asdict(entrant))
    large = measure_memory(dataclasses.asdict(dataclasses.replace(entrant, height=512, width=512)))
    assert 0 < small.increase_mb < 0.5 * ballast.nbytes / 1e6
    # 16 channels of fp32 at 512x512, twice: 33 MB at least
    assert large.increase_mb > small.increase_mb + 30
